"""The texts that wait for the model: bounded, first come first served, grouped by their settings.

Notable: the batch that goes next is that of the text that has waited longest, whatever its
settings are; others of the same settings ride along. So a text only ever waits for texts that came
before it, and no stream of other settings can keep it waiting. Texts whose client has gone leave at
once, so that what is held never exceeds the limit.

    settings A   a1    a3 a4          batches of two:  a1 a3,  b2 b5,  a4
    settings B      b2       b5
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from s2s_ft.serve.backend import Settings

Owner = TypeVar("Owner")


@dataclass(frozen=True, eq=False)
class Waiting(Generic[Owner]):
    """One text in the room.

    Attributes:
        owner: whose it is.
        index: which of the owner's texts.
        settings: its options.
        arrived: when it came, in seconds of the clock of whoever asks.
    """

    owner: Owner
    index: int
    settings: Settings
    arrived: float


class RoomIsFull(Exception):  # noqa: N818 (a state, not a mistake)
    """There is no room for all the texts of a request; none was taken in."""


class WaitingRoom(Generic[Owner]):
    """Up to `limit` texts that wait."""

    def __init__(self, limit: int, max_batch_size: int) -> None:
        """An empty room."""
        self._limit = limit
        self._max_batch_size = max_batch_size
        self._number = 0  # of the next arrival
        self._places: dict[Waiting[Owner], int] = {}
        # Per settings, the numbers and texts in order of arrival.
        self._groups: dict[Settings, dict[int, Waiting[Owner]]] = {}

    def __len__(self) -> int:
        """How many texts wait."""
        return len(self._places)

    @property
    def limit(self) -> int:
        """How many may wait."""
        return self._limit

    def put(self, texts: Sequence[Waiting[Owner]]) -> None:
        """Take texts in, all or none.

        Raises:
            RoomIsFull: they are more than there is room for.
        """
        if len(self) + len(texts) > self._limit:
            raise RoomIsFull
        for text in texts:
            self._places[text] = self._number
            self._groups.setdefault(text.settings, {})[self._number] = text
            self._number += 1

    def remove(self, texts: Iterable[Waiting[Owner]]) -> int:
        """Let texts go that may or may not be here still.

        Returns:
            How many were.
        """
        removed = 0
        for text in texts:
            place = self._places.pop(text, None)
            if place is None:
                continue
            removed += 1
            group = self._groups[text.settings]
            del group[place]
            if not group:
                del self._groups[text.settings]
        return removed

    def oldest(self) -> Waiting[Owner] | None:
        """The text that has waited longest, if any waits."""
        if not self._groups:
            return None
        first = min(next(iter(group)) for group in self._groups.values())
        return next(group[first] for group in self._groups.values() if first in group)

    def has_full_batch(self) -> bool:
        """Whether waiting longer could not make the next batch any larger."""
        oldest = self.oldest()
        return oldest is not None and len(self._groups[oldest.settings]) >= self._max_batch_size

    def take(self) -> list[Waiting[Owner]]:
        """The next batch, oldest first; it leaves the room. Empty if nothing waits."""
        oldest = self.oldest()
        if oldest is None:
            return []
        group = self._groups[oldest.settings]
        batch = [text for text, _ in zip(group.values(), range(self._max_batch_size), strict=False)]
        self.remove(batch)
        return batch
