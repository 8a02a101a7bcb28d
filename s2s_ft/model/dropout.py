"""Dropout for a CPU: the same probabilities, from sixteen random bits an element.

Notable: torch's CPU kernel draws a float of its own for every element, which costs more than what
the mask is for. Here one 64-bit number decides four elements: each compares sixteen bits with a
threshold, so a probability is met to within 1/131072, and the kept elements are scaled by what was
really kept, so that their mean is exact. The bits come from torch's default generator. GPUs keep
torch's own kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

LEVELS = 1 << 16


def kept_levels(probability: float) -> int:
    """How many of the levels are kept, for a probability of dropping above 0 and below 1."""
    return min(max(1, round((1.0 - probability) * LEVELS)), LEVELS - 1)


def keep_mask(size: Sequence[int], probability: float, like: Tensor) -> tuple[Tensor, float]:
    """What dropout keeps.

    Args:
        size: Shape of the mask.
        probability: Of dropping an element, above 0 and below 1.
        like: Gives type and device (a CPU).

    Returns:
        A mask of 1 (kept) and 0, and the factor that restores the mean.
    """
    kept = kept_levels(probability)
    count = math.prod(size)
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    mask = torch.empty(size, dtype=like.dtype)
    torch.lt(bits.view(torch.int16)[:count].view(size), kept - LEVELS // 2, out=mask)
    return mask, LEVELS / kept


class CpuDropout(nn.Dropout):
    """`nn.Dropout` with the mask of this file on a CPU, and torch's own elsewhere."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements in training."""
        if not self.training or self.p == 0.0 or self.p == 1.0 or input.device.type != "cpu":
            return super().forward(input)
        result: Tensor = _Dropout.apply(input, self.p)  # type: ignore[no-untyped-call]
        return result


class _Dropout(torch.autograd.Function):
    """Multiplies by a mask, forward and backward."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, probability: float) -> Tensor:
        """Draw the mask and apply it."""
        mask, ctx.factor = keep_mask(values.shape, probability, values)
        ctx.save_for_backward(mask)
        return (values * mask).mul_(ctx.factor)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        """Apply it to the gradient."""
        (mask,) = ctx.saved_tensors
        return (upstream * mask).mul_(ctx.factor), None


def use_cpu_dropout(encoder: nn.Module) -> None:
    """Replace every `nn.Dropout` of an encoder; probabilities and names stay."""
    for module in list(encoder.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout:
                setattr(module, name, CpuDropout(child.p).train(child.training))
