"""Label-smoothed loss at supervised positions, in closed form, with its gradient beside it.

Notable: neither the smoothed V-wide target nor any of the dense intermediate results that autograd
would keep ever exists: the gradient is known in closed form too. Both are worked out some rows at a
time; on a CPU a few, in one float32 buffer that stays in the processor's cache while it is passed
over: all that goes through memory is the logits once and their gradient once, in the type they came
in. A factor on the loss that is known beforehand is worked in there as well, where one from behind
would be another pass.

With smoothing e > 0 the loss is the KL divergence from a target that holds 1 - e at the label and
s = e / (V - 2) at every other class but class 0, which gets nothing, whether as class or as label
(the original's quirk, kept: its numbers depend on it). With z the logits, y the label and
L = logsumexp(z), the divergence of a row and its gradient on z are

    C - (1 - e) (z_y - L) - s (sum_v z_v - z_0 - z_y - (V - 2) L)
    softmax(z) - s,  at class 0: softmax(z),  at class y: softmax(z) - (1 - e)

where C = (1 - e) ln(1 - e) + (V - 2) s ln s. With e = 0 it is cross-entropy, and class 0 is a label
like any other. L is had from the softmax, max(z) - ln max(softmax(z)): one pass less.

Letters: N supervised rows, n of them at a time, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

CACHED_ELEMENTS = 1 << 19
"""Logits in float32 that a CPU works on at a time: 2 MiB."""

GPU_ELEMENTS = 1 << 26
"""Those that a GPU does: 256 MiB. With the vocabularies of many languages all would take GiBs."""


def smoothed_loss(
    logits: Tensor, labels: Tensor, label_smoothing: float, scale: Tensor | float = 1.0
) -> Tensor:
    """Summed loss of the supervised rows.

    Args:
        logits: [N', V], any float type; the arithmetic is float32. Rows behind those that have a
            label are left out, and their gradient is zero.
        labels: [N] int64, N <= N'.
        label_smoothing: e, in [0, 1).
        scale: Factor on the loss, a number or a float32 scalar.

    Returns:
        Float32 scalar, the sum over rows times the factor; its gradient can be asked for once.
    """
    loss: Tensor = _SmoothedLoss.apply(  # type: ignore[no-untyped-call]
        logits, labels, label_smoothing, scale
    )
    return loss


class _SmoothedLoss(torch.autograd.Function):
    """The closed form at the top of this file."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, label_smoothing: float, scale: Tensor | float
    ) -> Tensor:
        """See `smoothed_loss`."""
        elements = CACHED_ELEMENTS if logits.device.type == "cpu" else GPU_ELEMENTS
        count = max(1, elements // logits.shape[1])
        # float16 would lose the small shares of the gradient before the loss scale lifts them.
        kept = torch.float32 if logits.dtype is torch.float16 else logits.dtype
        ctx.gradient = None
        if ctx.needs_input_grad[0]:
            ctx.gradient = torch.empty_like(logits, dtype=kept)
            ctx.gradient[labels.shape[0] :].zero_()
            ctx.dtype = logits.dtype
        losses = []
        for start in range(0, labels.shape[0], count):
            part = slice(start, min(start + count, labels.shape[0]))
            loss, gradient = _rows(logits[part].float(), labels[part], label_smoothing, scale)
            losses.append(loss)
            if ctx.gradient is not None:
                ctx.gradient[part] = gradient
        return torch.cat(losses).sum() if losses else logits.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient times the scalar that comes from above, in the buffer it was kept in."""
        gradient, ctx.gradient = ctx.gradient, None
        assert gradient is not None, "the gradient of a loss can be asked for once"
        if not _is_one(upstream):
            gradient.mul_(upstream)
        return gradient.to(ctx.dtype), None, None, None


def _is_one(factor: Tensor) -> bool:
    """Whether a scalar need not be multiplied by; a GPU is not asked, it would be waited for."""
    return factor.device.type == "cpu" and float(factor) == 1.0


def _rows(
    scores: Tensor, labels: Tensor, label_smoothing: float, scale: Tensor | float
) -> tuple[Tensor, Tensor]:
    """[n, 1] losses of some rows times a factor, and [n, V] the gradient of their sum on the
    float32 scores.
    """
    others = scores.shape[1] - 2
    share, confidence = label_smoothing / others, 1.0 - label_smoothing
    index = labels.unsqueeze(-1)
    at_label = scores.gather(-1, index)  # [n, 1]
    probabilities = scores.softmax(dim=-1)
    largest = scores.amax(dim=-1, keepdim=True)
    normalizer = largest - probabilities.amax(dim=-1, keepdim=True).log()  # [n, 1]
    losses = confidence * (normalizer - at_label)
    gradient = probabilities.scatter_add_(
        -1, index, torch.full_like(normalizer, share - confidence)
    )
    if label_smoothing == 0.0:
        return losses * scale, gradient.mul_(scale)
    at_others = scores.sum(dim=-1, keepdim=True) - scores[:, :1] - at_label
    constant = confidence * math.log(confidence) + label_smoothing * math.log(share)
    losses = losses + constant - share * (at_others - others * normalizer)
    gradient.sub_(share)
    gradient[:, 0] += share
    factors = (index != 0) * scale  # torch fills slowly where a mask says so
    return losses.mul_(factors), gradient.mul_(factors)
