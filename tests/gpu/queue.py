"""What simulated devices are busy with: their queues, and the memory that they have.

    copy 1, copy 2, event A, copy 3        A has happened: 1 and 2 have arrived, 3 has not

Notable: an event happens when it is waited for, or has been asked about a few times, so that the
host sees a device that is late. Each device has one queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

RUBBISH = -77
"""What stands in host memory that a copy has not reached."""

PATIENCE = 3
"""How often an event is asked about before it has happened."""

Copy = tuple[Tensor, Tensor]


class Devices:
    """The state of all devices.

    Attributes:
        current: The one that is meant where none is named.
        under_way: What is on its way to the host, from each.
        on_wait: Called when the host waits for an event.
        most_bytes: Size of the largest tensor that there is memory for; None = any.
    """

    def __init__(self) -> None:
        self.on_wait: Callable[[str], None] = lambda _what: None
        self.start_anew()

    def start_anew(self, most_bytes: int | None = None) -> None:
        """Forget what was."""
        self.current = 0
        self.under_way: dict[int, list[Copy]] = {}
        self.most_bytes = most_bytes

    def take(self, index: int) -> list[Copy]:
        """What an event stands behind that is put into a device's queue now."""
        return self.under_way.pop(index, [])


devices = Devices()


@dataclass(frozen=True)
class Stream:
    """The queue of a device."""

    index: int


class Event:
    """A mark in a queue."""

    def __init__(self, **_keywords: Any) -> None:
        self._before: list[Copy] = []
        self._asked = 0

    def record(self, stream: Stream | None = None) -> None:
        """Put it behind everything that is on its way, from the current device unless told."""
        self._before = devices.take(devices.current if stream is None else stream.index)

    def query(self) -> bool:
        """Whether it has happened."""
        self._asked += 1
        if self._asked > PATIENCE:
            self._happen()
        return not self._before

    def synchronize(self) -> None:
        """Wait for it."""
        if self._before:
            devices.on_wait("event")
        self._happen()

    def _happen(self) -> None:
        for place, numbers in self._before:
            place.copy_(numbers)
        self._before = []


def send_to_host(place: Tensor, numbers: Tensor, index: int, *, at_once: bool) -> Tensor:
    """Copy what a device holds to memory of the host, now or when an event has happened."""
    if at_once:
        return place.copy_(numbers)
    devices.under_way.setdefault(index, []).append((place, numbers.clone()))
    return place.fill_(RUBBISH)


def stream_of(device: torch.device | int | None = None) -> Stream:
    """The queue of a device, of the current one unless told."""
    return Stream(index_of(device))


def index_of(device: torch.device | int | None) -> int:
    """The number of a device."""
    if isinstance(device, int):
        return device
    return devices.current if device is None or device.index is None else device.index
