"""Label-smoothed loss at supervised positions, in closed form: the smoothed V-wide target is never
built.

Letters: N supervised rows, V vocabulary.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def smoothed_loss(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Summed loss of the supervised rows.

    With smoothing e > 0 it is the KL divergence from a target that holds 1 - e at the label and s =
    e / (V - 2) at every other class but class 0, which gets nothing, whether as class or as label
    (the original's quirk, kept: its numbers depend on it). With z the logits, y the label and L =
    logsumexp(z), the divergence of a row is

        C - (1 - e) (z_y - L) - s (sum_v z_v - z_0 - z_y - (V - 2) L),    C = (1 - e) ln(1 - e) + (V
        - 2) s ln s

    With e = 0 it is cross-entropy, and class 0 is a label like any other.

    Args:
        logits: [N, V], any float type; the arithmetic is float32.
        labels: [N] int64.
        label_smoothing: e, in [0, 1).

    Returns:
        Float32 scalar, the sum over rows.
    """
    logits = logits.float()
    if label_smoothing == 0.0:
        return F.cross_entropy(logits, labels, reduction="sum")
    others = logits.shape[-1] - 2
    share = label_smoothing / others
    confidence = 1.0 - label_smoothing
    constant = confidence * math.log(confidence) + label_smoothing * math.log(share)
    normalizer = logits.logsumexp(dim=-1)
    label_logits = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    smoothed = logits.sum(dim=-1) - logits[:, 0] - label_logits - others * normalizer
    rows = constant - confidence * (label_logits - normalizer) - share * smoothed
    return rows.masked_fill(labels == 0, 0.0).sum()
