"""Softmax of attention scores on a CPU, a few examples at a time, so that they stay in the cache.

Notable: of many scores, bias and softmax are float32 whatever the type of the products: torch's
kernels for shorter types take one element at a time where rows are not a whole number of vectors.

Letters: B examples, H heads, Q queries, K keys.
"""

from __future__ import annotations

import torch
from torch import Tensor

CACHED_ELEMENTS = 1 << 18
"""Scores in float32 that are worked on at a time: 1 MiB."""


def biased_softmax(scores: Tensor, bias: Tensor, *, start: int = 0) -> Tensor:
    """Attention weights of scores, which are used up.

    Args:
        scores: [B, H, Q, K].
        bias: [B, 1|H, Q, K], added first.
        start: First key whose bias is anything but zero.

    Returns:
        [B, H, Q, K], where the scores were unless they are few.
    """
    if scores.numel() <= CACHED_ELEMENTS and (start == 0 or scores.dtype is torch.float32):
        scores[..., start:].add_(bias[..., start:])
        return scores.softmax(dim=-1)
    count = max(1, CACHED_ELEMENTS // max(1, scores[:1].numel()))
    for begin in range(0, scores.shape[0], count):
        part = scores[begin : begin + count]
        exact = part.to(torch.promote_types(part.dtype, torch.float32))
        exact[..., start:].add_(bias[begin : begin + count, ..., start:])
        part.copy_(exact.softmax(dim=-1))
    return scores
