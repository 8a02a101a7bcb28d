"""The texts that wait for the model: bounded, first come first served, grouped by their settings.

Notable: the texts that the model takes up when it is free are the one that has waited longest and
others of its settings, and while it has these, further ones of the same settings may join them
unless a text of other settings was there before. So a text waits for texts that came before it and
for one batch at most of those that rode along with them; no stream of other settings can keep it
waiting. Texts whose client has gone leave at once, so that what is held never exceeds the limit.

    settings A   a1    a3 a4          batches of two:  a1 a3,  b2 b5,  a4
    settings B      b2       b5       and a6, if nothing else waits by then, joins a4

The event loop puts texts in and the model's thread takes them out: every method may be called from
either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from s2s_ft.serve.backend import Settings, Task

Owner = TypeVar("Owner")


@dataclass(eq=False, kw_only=True)
class Waiting(Task, Generic[Owner]):
    """One text in the room.

    Attributes:
        owner: whose it is.
        index: which of the owner's texts.
        settings: its options.
        arrived: when it came, in seconds of `time.monotonic`.
    """

    owner: Owner
    index: int
    settings: Settings
    arrived: float = field(default_factory=time.monotonic)


class RoomIsFull(Exception):  # noqa: N818 (a state, not a mistake)
    """There is no room for all the texts of a request; none was taken in."""


class WaitingRoom(Generic[Owner]):
    """Up to `limit` texts that wait."""

    def __init__(self, limit: int, max_batch_size: int) -> None:
        """An empty room."""
        self._limit = limit
        self._max_batch_size = max_batch_size
        self._number = 0  # of the next arrival
        self._num_reserved = 0
        self._is_closed = False
        self._places: dict[Waiting[Owner], int] = {}
        # Per settings, the numbers and texts in order of arrival.
        self._groups: dict[Settings, dict[int, Waiting[Owner]]] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """How many texts wait, those that a place is kept for among them."""
        return len(self._places) + self._num_reserved

    @property
    def num_reserved(self) -> int:
        """How many places are kept for texts that are not here yet."""
        return self._num_reserved

    # -- coming ------------------------------------------------------------------------------------

    def reserve(self, count: int) -> None:
        """Keep places for texts that will be put in, all or none.

        Raises:
            RoomIsFull: they are more than there is room for.
        """
        with self._changed:
            if len(self) + count > self._limit:
                raise RoomIsFull
            self._num_reserved += count

    def release(self, count: int) -> None:
        """Give reserved places back."""
        with self._changed:
            self._num_reserved -= count

    def put(self, texts: Sequence[Waiting[Owner]]) -> None:
        """Take texts in; their places were reserved."""
        with self._changed:
            self._num_reserved -= len(texts)
            for text in texts:
                self._places[text] = self._number
                self._groups.setdefault(text.settings, {})[self._number] = text
                self._number += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody is to be taken out any more; whoever waits for texts is told."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    # -- leaving -----------------------------------------------------------------------------------

    def remove(self, texts: Iterable[Waiting[Owner]]) -> int:
        """Let texts go that may or may not be here still.

        Returns:
            How many were.
        """
        with self._changed:
            return sum(self._remove(text) for text in texts)

    def wait_for_batch(self, patience_s: float) -> list[Waiting[Owner]]:
        """The next batch, oldest first, once it is full or its oldest text has waited its time.

        Returns:
            Texts of equal settings, which leave the room; none once the room is closed.
        """
        with self._changed:
            while not self._is_closed:
                oldest = self._oldest()
                if oldest is None:
                    self._changed.wait()
                    continue
                left = oldest.arrived + patience_s - time.monotonic()
                if left <= 0 or len(self._groups[oldest.settings]) >= self._max_batch_size:
                    return self._take(oldest.settings)
                self._changed.wait(left)
            return []

    def join(self, settings: Settings) -> Waiting[Owner] | None:
        """The text that has waited longest, if it may join a batch of these settings; it leaves
        the room.
        """
        with self._changed:
            oldest = self._oldest()
            if self._is_closed or oldest is None or oldest.settings != settings:
                return None
            self._remove(oldest)
            return oldest

    def _oldest(self) -> Waiting[Owner] | None:
        """The text that has waited longest, if any waits."""
        if not self._groups:
            return None
        first = min(next(iter(group)) for group in self._groups.values())
        return next(group[first] for group in self._groups.values() if first in group)

    def _take(self, settings: Settings) -> list[Waiting[Owner]]:
        """The oldest texts of some settings, a batch at most."""
        group = self._groups[settings].values()
        batch = [text for text, _ in zip(group, range(self._max_batch_size), strict=False)]
        for text in batch:
            self._remove(text)
        return batch

    def _remove(self, text: Waiting[Owner]) -> bool:
        place = self._places.pop(text, None)
        if place is None:
            return False
        group = self._groups[text.settings]
        del group[place]
        if not group:
            del self._groups[text.settings]
        return True
