"""Attention of a packed batch on a CPU, forward and backward written out.

    packed queries, keys, values  [1, H, C, D]
      -> spread         into rectangles of like shape, each [nH, L, D]
      -> source rows    softmax(q k^T + bias) v   over source keys
         rest rows      softmax(q k^T + bias) v   over all keys
      -> gathered       [1, H, C, D]

Notable: autograd would do the same with some twenty more passes over the scores, which are the
largest tensors of a step: the bias added out of place, gradients of slices padded with zeros and
added, products with a transposed left side copied first. Here the bias is added in place and only
to the columns that have one (of rows about equally long, few), what dropout scales is scaled where
there are D columns.

Letters: B batch, n examples of a rectangle, H heads, C packed rows, L row length, S source, R = L -
S, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from s2s_ft.model.dropout import keep_mask
from s2s_ft.model.rectangles import Rectangles
from s2s_ft.model.softmax import biased_softmax


@dataclass(frozen=True)
class Bias:
    """What is added to the scores of one part.

    Attributes:
        values: [n, 1, Q, K].
        start: First column in which anything is not zero: every query sees all keys before it.
    """

    values: Tensor
    start: int

    @classmethod
    def of(cls, values: Tensor) -> Bias:
        """Look at the columns once, for all layers."""
        biased = values.flatten(0, 2).abs().amax(dim=0).nonzero()
        return cls(values, int(biased[0]) if len(biased) else values.shape[3])


def packed_attention(  # noqa: PLR0913 (what one layer's attention is made of)
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    rectangles: Rectangles,
    biases: Sequence[tuple[Bias, Bias]],
    scaling: float,
    dropout: float,
    rest_only: bool,
) -> Tensor:
    """Source rows over source keys, all other rows over all keys.

    Args:
        query: [1, H, C, D].
        key: [1, H, C, D].
        value: [1, H, C, D].
        rectangles: Where the packed rows belong.
        biases: Of each rectangle: that of the source rows, Q = K = S, and that of all other rows,
            Q = R and K = L.
        scaling: Factor on the products.
        dropout: Probability to drop a weight.
        rest_only: Nobody reads what the source rows give, which is then 0.

    Returns:
        [1, H, C, D].
    """
    used = [(None if rest_only else source, rest) for source, rest in biases]
    result: Tensor = _PackedAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, rectangles, used, scaling, dropout
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
        rectangles: Rectangles,
        biases: Sequence[tuple[Bias | None, Bias]],
        scaling: float,
        dropout: float,
    ) -> Tensor:
        """Keeps the weights of both parts for the way back."""
        heads = query.shape[1]
        ctx.rectangles, ctx.heads, ctx.scaling = rectangles, heads, scaling
        ctx.factor = 1.0
        with torch.autocast("cpu", enabled=False):
            queries = rectangles.spread(query, in_halves=True).mul_(scaling)
            keys, values = rectangles.spread(key), rectangles.spread(value)
            result = torch.empty_like(queries)
            saved: list[Tensor | None] = [queries, keys, values]
            for rectangle, both in zip(rectangles.parts, biases, strict=True):
                halves = rectangle.halves_of(queries, heads), rectangle.halves_of(result, heads)
                all_keys, all_values = rectangle.of(keys, heads), rectangle.of(values, heads)
                for bias, asking, given in zip(both, *halves, strict=True):
                    if bias is None:
                        given.zero_()
                        saved += [None, None]
                        continue
                    seen = slice(0, bias.values.shape[3])
                    weights, mask = _weights(asking, all_keys[:, seen], bias, heads), None
                    kept = weights
                    if dropout > 0.0:
                        mask, ctx.factor = keep_mask(weights.shape, dropout, weights)
                        kept = weights * mask
                    torch.bmm(kept, all_values[:, seen], out=given)
                    saved += [weights, mask]
            if ctx.factor != 1.0:
                result.mul_(ctx.factor)
            ctx.save_for_backward(*saved)
            return rectangles.gather(result, heads, in_halves=True)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value."""
        queries, keys, values, *weights = ctx.saved_tensors
        rectangles, heads = ctx.rectangles, ctx.heads
        given = rectangles.spread_or_zero(upstream.to(queries.dtype), in_halves=True)
        if ctx.factor != 1.0:
            given.mul_(ctx.factor)
        to_queries, to_keys, to_values = map(torch.empty_like, (queries, keys, values))
        in_halves, whole = (queries, given, to_queries), (keys, values, to_keys, to_values)
        for number, rectangle in enumerate(rectangles.parts):
            around = _Around(*(rectangle.of(each, heads) for each in whole))
            source, rest = zip(*(rectangle.halves_of(x, heads) for x in in_halves), strict=True)
            of_source, of_rest = weights[4 * number :][:2], weights[4 * number + 2 :][:2]
            around.back(*rest, *of_rest, adds=False)  # it sees all keys
            if of_source[0] is None:
                source[2].zero_()
            else:
                around.back(*source, *of_source, adds=True)
        to_queries.mul_(ctx.scaling)
        return (
            rectangles.gather(to_queries, heads, in_halves=True),
            rectangles.gather(to_keys, heads),
            rectangles.gather(to_values, heads),
            *[None] * 4,
        )


@dataclass(frozen=True)
class _Around:
    """What the queries of one rectangle look at, and the gradients of that; all are [nH, L, D]."""

    keys: Tensor
    values: Tensor
    to_keys: Tensor
    to_values: Tensor

    def back(
        self,
        queries: Tensor,
        given: Tensor,
        to_queries: Tensor,
        weights: Tensor,
        mask: Tensor | None,
        *,
        adds: bool,
    ) -> None:
        """The way back of some queries; with `adds`, on top of what is there.

        Args:
            queries: [nH, Q, D], scaled.
            given: [nH, Q, D] gradient of the result.
            to_queries: [nH, Q, D], written.
            weights: [nH, Q, K] before dropout.
            mask: [nH, Q, K], what dropout kept, or None.
            adds: Whether keys and values have gradients already.
        """
        seen = slice(0, weights.shape[2])
        kept = weights if mask is None else weights * mask
        _multiply(kept.transpose(1, 2), given, self.to_values[:, seen], adds=adds)
        gradient = torch.bmm(given, self.values[:, seen].transpose(1, 2))
        if mask is not None:
            gradient.mul_(mask)
        gradient = torch._softmax_backward_data(gradient, weights, -1, weights.dtype)
        torch.bmm(gradient, self.keys[:, seen], out=to_queries)
        _multiply(gradient.transpose(1, 2), queries, self.to_keys[:, seen], adds=adds)


def _multiply(left: Tensor, right: Tensor, out: Tensor, *, adds: bool) -> None:
    """left @ right into `out`, or on top of it."""
    if adds:
        torch.baddbmm(out, left, right, out=out)
    else:
        torch.bmm(left, right, out=out)


def _weights(queries: Tensor, keys: Tensor, bias: Bias, heads: int) -> Tensor:
    """[nH, Q, K] attention weights before dropout, in the buffer of the products."""
    weights = torch.bmm(queries, keys.transpose(1, 2))
    by_example = weights.view(-1, heads, *weights.shape[1:])
    return biased_softmax(by_example, bias.values, start=bias.start).view_as(weights)
