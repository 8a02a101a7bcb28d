"""Label-smoothed loss at supervised positions, in closed form, with its gradient beside it.

Notable: neither the smoothed V-wide target nor any of the dense intermediate results that autograd
would keep ever exists: the gradient is known in closed form too, and is made in one buffer while
the softmax is at hand.

With smoothing e > 0 the loss is the KL divergence from a target that holds 1 - e at the label and
s = e / (V - 2) at every other class but class 0, which gets nothing, whether as class or as label
(the original's quirk, kept: its numbers depend on it). With z the logits, y the label and
L = logsumexp(z), the divergence of a row and its gradient on z are

    C - (1 - e) (z_y - L) - s (sum_v z_v - z_0 - z_y - (V - 2) L)
    softmax(z) - s,  at class 0: softmax(z),  at class y: softmax(z) - (1 - e)

where C = (1 - e) ln(1 - e) + (V - 2) s ln s. With e = 0 it is cross-entropy, and class 0 is a label
like any other.

Letters: N supervised rows, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def smoothed_loss(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Summed loss of the supervised rows.

    Args:
        logits: [N, V], any float type; the arithmetic is float32.
        labels: [N] int64.
        label_smoothing: e, in [0, 1).

    Returns:
        Float32 scalar, the sum over rows.
    """
    if label_smoothing == 0.0:
        return F.cross_entropy(logits.float(), labels, reduction="sum")
    loss: Tensor = _SmoothedLoss.apply(  # type: ignore[no-untyped-call]
        logits, labels, label_smoothing
    )
    return loss


class _SmoothedLoss(torch.autograd.Function):
    """The closed form at the top of this file."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """See `smoothed_loss`."""
        scores = logits.float()
        others = scores.shape[-1] - 2
        share = label_smoothing / others
        confidence = 1.0 - label_smoothing
        constant = confidence * math.log(confidence) + label_smoothing * math.log(share)
        normalizer = scores.logsumexp(dim=-1, keepdim=True)  # [N, 1]
        at_label = scores.gather(-1, labels.unsqueeze(-1))  # [N, 1]
        at_others = scores.sum(dim=-1, keepdim=True) - scores[:, :1] - at_label
        rows = constant - confidence * (at_label - normalizer)
        rows = rows - share * (at_others - others * normalizer)
        ignored = (labels == 0).unsqueeze(-1)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(_gradient(scores, normalizer, labels, share, confidence))
            ctx.dtype = logits.dtype
        return rows.masked_fill(ignored, 0.0).sum()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        """The kept gradient times the scalar that comes from above."""
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None, None


def _gradient(
    scores: Tensor, normalizer: Tensor, labels: Tensor, share: float, confidence: float
) -> Tensor:
    """[N, V] gradient of the summed loss on float32 scores, in one buffer."""
    gradient = (scores - normalizer).exp_().sub_(share)
    gradient[:, 0] += share
    index = labels.unsqueeze(-1)
    gradient.scatter_add_(-1, index, torch.full_like(normalizer, share - confidence))
    return gradient.masked_fill_(index == 0, 0.0)
