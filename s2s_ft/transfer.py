"""Tensors on their way between the host and a device, with neither waiting for the other.

    sent      host -> device    the copy is queued behind the device's other work
    Fetched   device -> host    the copy is queued, a mark behind it; `values` waits for that mark
                                and not for what was queued later, `has_arrived` only asks

Notable: only memory that the system cannot move ("pinned") is copied without a wait. On a CPU
tensors are where they are wanted already, and nothing is done.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on `device`; to a GPU it goes without a wait."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Fetched:
    """Numbers that a device may still have to compute, on their way to the host."""

    def __init__(self, numbers: Tensor) -> None:
        """Queue their copy.

        Args:
            numbers: Of any shape, not to be changed any more.
        """
        self._numbers, self._arrival = numbers, None
        if numbers.device.type == "cuda":
            self._numbers = torch.empty_like(numbers, device="cpu", pin_memory=True)
            self._numbers.copy_(numbers, non_blocking=True)
            self._arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrival.record(torch.cuda.current_stream(numbers.device))

    def has_arrived(self) -> bool | None:
        """Whether the numbers are there without a wait; None on a CPU, where they do not travel."""
        return None if self._arrival is None else bool(self._arrival.query())  # type: ignore[no-untyped-call]

    def values(self) -> list[Any]:
        """The numbers as Python holds them; waits until they have been computed and copied."""
        if self._arrival is not None:
            self._arrival.synchronize()
        values: list[Any] = self._numbers.tolist()
        return values
