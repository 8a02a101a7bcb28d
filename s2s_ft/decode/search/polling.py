"""Learning on the host which examples are decided, without making the device wait.

Notable: on a GPU the status of each step is copied to pinned memory beside the computation, and
looked at when it has arrived, some steps later; what the device went on computing meanwhile is
ignored, since an example's status and length stay as they were when it was decided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from s2s_ft.transfer import Fetched

MAX_LAG = 4
"""Most steps that a GPU may be ahead of what the host knows."""

Occupant = TypeVar("Occupant")


@dataclass(frozen=True)
class _Pending(Generic[Occupant]):
    """A status on its way to the host: who sat in which row then, and when it will be there."""

    status: Fetched
    occupants: tuple[Occupant, ...]


class StatusPoll(Generic[Occupant]):
    """Statuses of the steps, as they become known."""

    def __init__(self, lag: int) -> None:
        """Wait for a status only when `lag` newer ones are on their way; 0 = never be late."""
        self._lag = lag
        self._pending: deque[_Pending[Occupant]] = deque()

    def put(self, status: Tensor, occupants: Sequence[Occupant]) -> None:
        """Send a status on its way.

        Args:
            status: [B] int64 of each row.
            occupants: Who sits in each row.
        """
        self._pending.append(_Pending(Fetched(status), tuple(occupants)))

    def get(self) -> list[tuple[Occupant, int]]:
        """The occupants of which something new is known, and their status; of an occupant
        more than one status may come.
        """
        found: list[tuple[Occupant, int]] = []
        while self._pending and self._is_due(self._pending[0]):
            oldest = self._pending.popleft()
            known = zip(oldest.occupants, oldest.status.values(), strict=True)
            found.extend((occupant, status) for occupant, status in known if status)
        return found

    def _is_due(self, oldest: _Pending[Occupant]) -> bool:
        return len(self._pending) > self._lag or bool(oldest.status.has_arrived())
