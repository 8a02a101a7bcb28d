"""What simulated devices are busy with: their queues, and the memory that they have.

    copy 1, copy 2, event A, copy 3        A has happened: 1 and 2 have arrived, 3 has not

Notable: an event happens when it is waited for, or has been asked about a few times, so that the
host sees a device that is late. Each device has one queue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

RUBBISH = -77
"""What stands in host memory that a copy has not reached."""

PATIENCE = 3
"""How often an event is asked about before it has happened."""


@dataclass
class _Queue:
    """The copies to the host that a device has been told to make.

    Attributes:
        sent: How many there were.
        under_way: Those that have not arrived: number of each, from 1, where it goes, and what.
    """

    sent: int = 0
    under_way: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)

    def arrive(self, last: int) -> None:
        """Everything up to the copy of this number has been made."""
        for _, place, numbers in self._until(last):
            place.copy_(numbers)
        self.under_way = [each for each in self.under_way if each[0] > last]

    def is_busy(self, last: int) -> bool:
        """Whether something up to the copy of this number is still under way."""
        return bool(self._until(last))

    def _until(self, last: int) -> list[tuple[int, Tensor, Tensor]]:
        return [each for each in self.under_way if each[0] <= last]


class Devices:
    """The state of all devices.

    Attributes:
        current: The one that is meant where none is named.
        queues: What each is busy with.
        on_wait: Called when the host waits for an event.
        most_bytes: Size of the largest tensor that there is memory for; None = any.
    """

    def __init__(self) -> None:
        self.on_wait: Callable[[str], None] = lambda _what: None
        self.start_anew()

    def start_anew(self, most_bytes: int | None = None) -> None:
        """Forget what was."""
        self.current = 0
        self.queues: defaultdict[int, _Queue] = defaultdict(_Queue)
        self.most_bytes = most_bytes


devices = Devices()


class Event:
    """A mark in a queue."""

    def __init__(self, **_keywords: Any) -> None:
        self._queue = _Queue()
        self._last = 0
        self._asked = 0

    def record(self, stream: Stream | None = None) -> None:
        """Put it behind everything that is on its way, from the current device unless told."""
        self._queue = devices.queues[devices.current if stream is None else stream.index]
        self._last = self._queue.sent

    def query(self) -> bool:
        """Whether it has happened."""
        self._asked += 1
        if self._asked > PATIENCE:
            self._queue.arrive(self._last)
        return not self._queue.is_busy(self._last)

    def synchronize(self) -> None:
        """Wait for it."""
        if self._queue.is_busy(self._last):
            devices.on_wait("event")
        self._queue.arrive(self._last)


class Stream:
    """The queue of a device, of the current one unless told; there is one for all streams, so none
    has to wait for another.

    Attributes:
        index: The number of the device.
    """

    stream_id = 0
    device_type = 1  # of CUDA

    def __init__(self, device: torch.device | int | None = None, **_keywords: Any) -> None:
        self.index = self.device_index = index_of(device)

    def is_capturing(self) -> bool:
        """Whether it is made a graph of what is put into it."""
        return False

    def record_event(self, event: Event | None = None) -> Event:
        """Put an event behind everything that is on its way."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Go on when an event has happened."""

    def wait_stream(self, stream: Stream) -> None:
        """Go on when another stream has come as far as it is told now."""


def send_to_host(place: Tensor, numbers: Tensor, index: int, *, at_once: bool) -> Tensor:
    """Copy what a device holds to memory of the host, now or when an event has happened."""
    if at_once:
        return place.copy_(numbers)
    queue = devices.queues[index]
    queue.sent += 1
    queue.under_way.append((queue.sent, place, numbers.clone()))
    return place.fill_(RUBBISH)


def index_of(device: torch.device | int | None) -> int:
    """The number of a device."""
    if isinstance(device, int):
        return device
    return devices.current if device is None or device.index is None else device.index
