"""Attention of a packed batch on a CPU, forward and backward written out.

    packed queries, keys, values  [1, H, C, D]
      -> spread         q source [BH, S, D], q rest [BH, R, D], k and v [BH, L, D]
      -> source rows    softmax(q k^T + bias) v   over source keys
         rest rows      softmax(q k^T + bias) v   over all keys
      -> gathered       [1, H, C, D]

Notable: autograd would do the same with some twenty more passes over the scores, which are the
largest tensors of a step: the bias added out of place, gradients of slices padded with zeros and
added, products with a transposed left side copied first. Here the bias is added in place and only
to the columns that have one (of rows about equally long, few), and what dropout scales is scaled
where there are D columns.

Letters: B batch, H heads, BH = B * H, C true tokens, L row length, S source, R = L - S, D head
size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from s2s_ft.model.dropout import keep_mask
from s2s_ft.model.packing import PackedRows
from s2s_ft.model.softmax import biased_softmax


@dataclass(frozen=True)
class Bias:
    """What is added to the scores of one part.

    Attributes:
        values: [B, 1, Q, K].
        start: First column in which anything is not zero: every query sees all keys before it.
    """

    values: Tensor
    start: int

    @classmethod
    def of(cls, values: Tensor) -> Bias:
        """Look at the columns once, for all layers."""
        biased = (values != 0.0).flatten(0, 2).any(dim=0).nonzero()
        return cls(values, int(biased[0]) if len(biased) else values.shape[3])


def packed_attention(  # noqa: PLR0913 (what one layer's attention is made of)
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    rows: PackedRows,
    source_bias: Bias | None,
    rest_bias: Bias,
    scaling: float,
    dropout: float,
) -> Tensor:
    """Source rows over source keys, all other rows over all keys.

    Args:
        query: [1, H, C, D].
        key: [1, H, C, D].
        value: [1, H, C, D].
        rows: Where the packed rows belong.
        source_bias: Of the source rows, Q = K = S; None where nobody reads what they give, which
            is then 0.
        rest_bias: Of all other rows, Q = R and K = L.
        scaling: Factor on the products.
        dropout: Probability to drop a weight.

    Returns:
        [1, H, C, D], in the type of autocast where that is on.
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = (each.to(dtype) for each in (query, key, value))
    result: Tensor = _PackedAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, rows, source_bias, rest_bias, scaling, dropout
    )
    return result


class _PackedAttention(torch.autograd.Function):
    """See the top of this file."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 (autograd hands arguments over by place)
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rows: PackedRows,
        source_bias: Bias | None,
        rest_bias: Bias,
        scaling: float,
        dropout: float,
    ) -> Tensor:
        """Keeps the weights of both parts for the way back."""
        heads, size = query.shape[1], query.shape[3]
        ctx.rows, ctx.heads, ctx.scaling, ctx.dropout = rows, heads, scaling, dropout
        with torch.autocast("cpu", enabled=False):
            spread = rows.flat(query).mul_(scaling)
            all_keys, all_values = rows.flat(key), rows.flat(value)
            split = rest_bias.values.shape[3] - rest_bias.values.shape[2]
            result = torch.empty_like(spread)
            saved: list[Tensor | None] = [spread, all_keys, all_values]
            ctx.factor = 1.0
            for part, bias in ((slice(0, split), source_bias), (slice(split, None), rest_bias)):
                if bias is None:
                    result[:, part] = 0.0
                    saved += [None, None]
                    continue
                seen = slice(0, bias.values.shape[3])
                weights, mask = _weights(spread[:, part], all_keys[:, seen], bias, heads), None
                kept = weights
                if dropout > 0.0:
                    mask, ctx.factor = keep_mask(weights.shape, dropout, weights)
                    kept = weights * mask
                given = torch.bmm(kept, all_values[:, seen])
                result[:, part] = given if mask is None else given.mul_(ctx.factor)
                saved += [weights, mask]
            ctx.save_for_backward(*saved)
            return rows.unflat(result, heads).view(1, -1, heads, size).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value."""
        spread, keys, values, *parts = ctx.saved_tensors
        rows, heads, size = ctx.rows, ctx.heads, spread.shape[2]
        given = rows.flat_or_zero(upstream.to(spread.dtype))
        if ctx.factor != 1.0:
            given.mul_(ctx.factor)
        to_query = torch.zeros_like(spread) if parts[0] is None else torch.empty_like(spread)
        to_keys = to_values = None  # [BH, L, D]
        stop = spread.shape[1]
        for weights, mask in (parts[2:], parts[:2]):  # the rest comes first, it sees all keys
            if weights is None:
                continue
            part, seen = slice(stop - weights.shape[1], stop), slice(0, weights.shape[2])
            stop = part.start
            value_share, gradient = _before_softmax(
                given[:, part].contiguous(), values[:, seen], weights, mask
            )
            to_query[:, part] = torch.bmm(gradient, keys[:, seen]).mul_(ctx.scaling)
            key_share = torch.bmm(gradient.transpose(1, 2), spread[:, part])
            if to_keys is None or to_values is None:
                to_keys, to_values = key_share, value_share
            else:
                to_keys[:, seen] += key_share
                to_values[:, seen] += value_share
        assert to_keys is not None
        assert to_values is not None
        gradients = (
            rows.unflat(each, heads).view(1, -1, heads, size).transpose(1, 2)
            for each in (to_query, to_keys, to_values)
        )
        return (*gradients, None, None, None, None, None)


def _weights(queries: Tensor, keys: Tensor, bias: Bias, heads: int) -> Tensor:
    """[BH, Q, K] attention weights before dropout, in the buffer of the products."""
    weights = torch.bmm(queries.contiguous(), keys.transpose(1, 2).contiguous())
    by_example = weights.view(-1, heads, *weights.shape[1:])
    return biased_softmax(by_example, bias.values, start=bias.start).view_as(weights)


def _before_softmax(
    given: Tensor, values: Tensor, weights: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gradients of the values, [BH, K, D], and of the scores, [BH, Q, K]."""
    kept = weights if mask is None else weights * mask
    to_values = torch.bmm(kept.transpose(1, 2), given)
    gradient = torch.bmm(given, values.transpose(1, 2).contiguous())
    if mask is not None:
        gradient.mul_(mask)
    to_scores: Tensor = torch._softmax_backward_data(gradient, weights, -1, weights.dtype)
    return to_values, to_scores
