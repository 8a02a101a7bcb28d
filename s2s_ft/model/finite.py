"""Whether weights are numbers, without a table of answers as large as the weights."""

from __future__ import annotations

import torch
from torch import Tensor


def has_finite_ends(numbers: Tensor) -> Tensor:
    """Whether all numbers of a tensor are finite: its smallest and its largest tell.

    A NaN is both of them, wherever it stands. Nothing is allocated, which for the embeddings of a
    large vocabulary are gigabytes; and nobody waits for a GPU until the answer is read.

    Args:
        numbers: Of any shape, without numbers too.

    Returns:
        [] bool, on the device of the numbers.
    """
    if numbers.numel() == 0:
        return torch.ones((), dtype=torch.bool, device=numbers.device)
    return torch.stack(torch.aminmax(numbers.detach())).isfinite().all()
