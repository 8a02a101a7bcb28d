"""Positions: the table of position embeddings, its offset and growth, and UniLMv2's
relative-position bias.

Notable: a RoBERTa-like table keeps its first rows for padding (offset pad id + 1); the bias works
on position ids, so a pseudo token has the distances of the target token whose position it shares.

Letters: B batch, H heads, Q queries, K keys, P rows of the position table.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel


class RelativePositionBias(nn.Module):
    """One learned bias per head and distance bucket, shared by all layers (Raffel et al. 2020,
    section 2.1; UniLMv2).

    Attributes:
        weight: [H, num_buckets] float.
    """

    def __init__(self, num_buckets: int, max_distance: int, num_heads: int) -> None:
        """A bias of zeros; see `relative_position_bucket` for the first two arguments."""
        super().__init__()
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.weight = nn.Parameter(torch.zeros(num_heads, num_buckets))

    def forward(self, distance: Tensor) -> Tensor:
        """The bias of each distance.

        Args:
            distance: [B, Q, K] int64, key position minus query position.

        Returns:
            [B, H, Q, K] float.
        """
        buckets = relative_position_bucket(distance, self.num_buckets, self.max_distance)
        # Looked up, and not indexed: on a GPU the way back of an index takes one thread for each
        # entry of the table, and millions of distances share one.
        return F.embedding(buckets, self.weight.T).permute(0, 3, 1, 2)


def relative_position_bucket(distance: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """The bucket of each distance: half of the buckets for each direction, exact near by,
    logarithmic further off.

    Args:
        distance: int64 of any shape, key position minus query position.
        num_buckets: Buckets in all.
        max_distance: Distance from which on everything falls into the last bucket of its direction.

    Returns:
        int64 in [0, num_buckets), same shape. Keys before the query take the lower half.
    """
    per_direction = num_buckets // 2
    after = (distance > 0).long() * per_direction
    size = distance.abs()
    exact = per_direction // 2
    ratio = torch.log(size.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    coarse = exact + (ratio * (per_direction - exact)).long()
    return after + torch.where(size < exact, size, coarse.clamp(max=per_direction - 1))


def position_table(encoder: PreTrainedModel) -> nn.Embedding | None:
    """The encoder's table of learned absolute positions, None where positions are rotary."""
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module
    return None


def position_offset(encoder: PreTrainedModel) -> int:
    """Rows before position 0 in the table: pad id + 1 for RoBERTa-like encoders, else 0."""
    table = position_table(encoder)
    return 0 if table is None or table.padding_idx is None else table.padding_idx + 1


def num_positions(encoder: PreTrainedModel) -> int | None:
    """Positions that a row of tokens may use, None where nothing limits them."""
    table = position_table(encoder)
    return None if table is None else table.num_embeddings - position_offset(encoder)


def resized_rows(rows: Tensor, size: int, offset: int) -> Tensor:
    """A position table of another size: shorter is cut, longer tiles the old rows over the new
    ones.

    Args:
        rows: [P, hidden] float.
        size: Positions wanted, offset rows not counted.
        offset: Rows before position 0, kept as they are.

    Returns:
        [offset + size, hidden]; row offset + i is the old row offset + i modulo the old number of
        positions.
    """
    old = rows.shape[0] - offset
    index = torch.arange(size, device=rows.device) % old + offset
    return torch.cat([rows[:offset], rows[index]])


def grow_positions(encoder: PreTrainedModel, size: int) -> None:
    """Make room for `size` positions; a table that is large enough, and rotary positions, are left
    alone.

    Args:
        encoder: Changed in place, its config and position buffers too.
        size: Positions wanted, source and target together.
    """
    table = position_table(encoder)
    offset = position_offset(encoder)
    if table is None or table.num_embeddings - offset >= size:
        return
    with torch.no_grad():
        rows = resized_rows(table.weight, size, offset)
    table.weight = nn.Parameter(rows, requires_grad=table.weight.requires_grad)
    table.num_embeddings = rows.shape[0]
    encoder.config.max_position_embeddings = rows.shape[0]
    for module in encoder.modules():
        if getattr(module, "position_embeddings", None) is table:
            _grow_buffers(module, rows.shape[0])


def _grow_buffers(embeddings: nn.Module, size: int) -> None:
    """transformers keeps default position and type ids beside the table, as long as it."""
    device = next(embeddings.parameters()).device
    buffers = dict(embeddings.named_buffers(recurse=False))
    if "position_ids" in buffers:
        embeddings.register_buffer(
            "position_ids", torch.arange(size, device=device)[None], persistent=False
        )
    if "token_type_ids" in buffers:
        zeros = torch.zeros(1, size, dtype=torch.long, device=device)
        embeddings.register_buffer("token_type_ids", zeros, persistent=False)
