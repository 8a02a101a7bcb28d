"""Who looks at whom: the attention pattern of a batch, and the additive bias it becomes.

A training row holds the blocks source S, target T and, for pseudo-masked fine-tuning, pseudo P. Who
looks at whom (three source tokens, two target tokens, query rows down, key columns across, x = may
look):

              s1 s2 s3 | t1 t2 | p1 p2
        s1     x  x  x |  .  . |  .  .      source: the whole source, both ways
        s2     x  x  x |  .  . |  .  .
        s3     x  x  x |  .  . |  .  .
        t1     x  x  x |  x  . |  .  .      target: source and targets up to itself
        t2     x  x  x |  x  x |  .  .
        p1     x  x  x |  .  . |  x  .      pseudo: source, true targets before it, itself;
        p2     x  x  x |  x  . |  .  x      nobody else ever sees a pseudo token

Source rows meet source keys only, so the rectangle is never multiplied out whole: one product for
the source rows, one for all others.

Letters: B batch, H heads, Q queries, K keys, L row length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from s2s_ft.layout import Batch
from s2s_ft.model.positions import RelativePositionBias

MASKED = -30000.0
"""Score added where a query may not look: zero after softmax, finite in fp16, so a row of padding
is never NaN.
"""


def distance_bias(
    allowed: Tensor,
    query_positions: Tensor,
    key_positions: Tensor,
    relative: RelativePositionBias | None,
    window: int | None,
) -> Tensor:
    """The additive bias of a block of queries and keys.

    Args:
        allowed: [B, Q, K] bool (or [1, Q, K]), True = the query may look at the key.
        query_positions: [B, Q] int64 position ids.
        key_positions: [B, K] int64 position ids.
        relative: The T5-style bias of UniLMv2 checkpoints, or None.
        window: Distance in positions from which on keys are out of sight, or None. Positions and
            not columns count, since a pseudo token shares its target's position.

    Returns:
        [B, 1, Q, K] or, with a relative bias, [B, H, Q, K]; float32.
    """
    if relative is None and window is None:
        return torch.where(allowed, 0.0, MASKED).unsqueeze(1)
    distance = key_positions.unsqueeze(1) - query_positions.unsqueeze(2)
    if window is not None:
        allowed = allowed & in_window(distance, window)
    bias = torch.where(allowed, 0.0, MASKED).unsqueeze(1)
    return bias if relative is None else bias + relative(distance)


def in_window(distance: Tensor, window: int) -> Tensor:
    """Whether positions so far from each other see each other, in a layer with a window."""
    return distance.abs() < window


def visible(batch: Batch, *, left_to_right_source: bool = False) -> Tensor:
    """The pattern drawn at the top of this file, for every row and key of a batch.

    Args:
        batch: The laid-out examples.
        left_to_right_source: Let source tokens see only what stands before them (`--mode l2r`).

    Returns:
        [B, L, L] bool, one piece of memory, True = the query row may look at the key column;
        padding is never looked at.
    """
    length = batch.ids.shape[1]
    column = torch.arange(length, device=batch.ids.device)
    second, third = column >= batch.source_size, column >= batch.source_size + batch.target_size
    block = second.long() + third.long()
    offset = column - second * batch.source_size - third * batch.target_size
    query_block, key_block = block[:, None], block[None, :]
    before = offset[None, :] < offset[:, None]
    itself = column[None, :] == column[:, None]
    source = key_block == 0
    if left_to_right_source:
        source = source & ((query_block != 0) | before | itself)
    target = (key_block == 1) & (query_block != 0) & (before | (itself & (query_block == 1)))
    pattern = source | target | ((key_block == 2) & itself)
    lengths = torch.stack(
        [batch.source_lengths, batch.target_lengths, batch.target_lengths]
    )  # [3, B]
    real = offset[None, :] < lengths[block].T.contiguous()  # [B, L]
    return pattern[None] & real[:, None, :]
