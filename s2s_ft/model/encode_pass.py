"""The attention plan that takes sources in, each with the first question behind it.

The encoder sees true tokens alone, side by side in one row, in each bucket of the cache the longest
example first. Attention puts them into rectangles, one for each few examples of like length, in
which sources end side by side:

    given       . . . x1 x2 [M]            packed   y1 y2 y3 y4 y5 [M] x1 x2 [M]
                y1 y2 y3 y4 y5 [M]
    rectangle   source rows look at their source, the question at the source and itself

Notable: so one pass encodes the sources and reads the first token's prediction, and padding costs
nothing but in attention, and little there. What stands in the cells of padding is the example's own
first row: nobody looks at it, and where it is no number, it is so for that example alone.

Letters: N examples that enter, s source columns, C true tokens, n examples and L columns of a
rectangle (question included), H heads, G key/value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from s2s_ft.model.attention import AttentionCall, AttentionPlan, kernel_bias
from s2s_ft.model.bucket import Bucket
from s2s_ft.model.cache import Entry
from s2s_ft.model.packing import PackedRows
from s2s_ft.model.passes import grouped_attention
from s2s_ft.model.pattern import distance_bias
from s2s_ft.model.positions import RelativePositionBias
from s2s_ft.transfer import sent

SHORTER = 0.8
"""A source of less than this share of the longest one's length may begin a new rectangle."""

WORTH_SAVING = 16_000
"""Cells (of all its rows and columns) that a new rectangle must save on a CPU, where its products
are compiled first, for about half a millisecond each."""


class EncodePass(AttentionPlan):
    """Runs sources and the first question behind them, and keeps their keys and values.

    Attributes:
        cells: [C] int64 where the true tokens are in the flattened [N * (s + 1)].
        positions: [1, C] int64.
        is_question: [1, C] bool.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        lengths: Sequence[int],
        relative: RelativePositionBias | None,
        *,
        num_kept: int,
        left_to_right: bool,
    ) -> None:
        """Draw the pattern.

        Args:
            entries: Where the examples have been placed (see `KeyValueCache.place`).
            lengths: True source tokens of each; the longest has s.
            relative: UniLMv2's bias, or None.
            num_kept: Whether the question is kept (1) or not (0).
            left_to_right: Hide later source tokens.
        """
        bucket, size = entries[0].bucket, max(lengths) + 1
        device = bucket.device
        self._dtype = bucket.dtype
        self._relative = relative
        self._num_kept = num_kept
        rows, order, parts = _arranged(entries, lengths)
        sizes = torch.tensor([lengths[example] + 1 for example in order])
        column = torch.arange(size)
        is_true = column >= size - sizes[:, None]  # [N, s + 1]
        example, place = is_true.nonzero(as_tuple=True)
        self.cells = sent(torch.tensor(order)[example] * size + place, device)
        self.positions = sent(place - (size - sizes)[example], device).unsqueeze(0)
        self.is_question = sent(place == size - 1, device).unsqueeze(0)
        ends = sizes.cumsum(0)
        last = torch.empty_like(ends)
        last[torch.tensor(order)] = ends - 1
        self.read_rows = sent(last, device)
        self._rectangles = [
            _Rectangle(
                bucket,
                bucket.index_of(rows[part]),
                sizes[part],
                slice(int(ends[part.start - 1]) if part.start else 0, int(ends[part.stop - 1])),
                left_to_right=left_to_right,
            )
            for bucket, part in parts
        ]

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """One product a rectangle; keys and values go into the cache.

        Args:
            layer: Index of the layer.
            query: [1, H, C, D].
            key: [1, G, C, D].
            value: [1, G, C, D].
            call: Scaling and window.

        Returns:
            [1, H, C, D], stored row by row with the heads side by side; of a layer of which only
            the questions are read, all other rows are of no meaning.
        """
        given, heads = query.dtype, query.shape[1]
        dtype = self._dtype or given
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        result = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
        for each in self._rectangles:
            keys, values = each.spread(key), each.spread(value)
            each.bucket.write_source(layer, each.rows, keys, values, num_kept=self._num_kept)
            bias = each.bias(self._relative, call.window, dtype)
            if layer == self.narrowed_layer:
                asked = query[0][:, each.last].transpose(0, 1).unsqueeze(2)  # [n, H, 1, D]
                found = grouped_attention(asked, keys, values, bias[:, :, -1:], call.scaling)
                result[0, each.last] = found.squeeze(2)
            else:
                found = grouped_attention(each.spread(query), keys, values, bias, call.scaling)
                back = each.packing.unflat(found.flatten(0, 1), heads)
                result[0, each.tokens] = back.view(-1, *result.shape[2:])
        return result.transpose(1, 2).to(given)


class _Rectangle:
    """A few examples of like length.

    Attributes:
        bucket: Theirs.
        rows: Index of their rows in it.
        tokens: Where their tokens are in the packed row.
        last: [n] int64 where their questions are.
        packing: Between its part of the packed row and the rectangle.
    """

    def __init__(
        self,
        bucket: Bucket,
        rows: Tensor | slice,
        sizes: Tensor,
        tokens: slice,
        *,
        left_to_right: bool,
    ) -> None:
        """Draw the pattern.

        Args:
            bucket: Where their keys and values go.
            rows: Index of n rows of it.
            sizes: [n] int64, on the CPU, true tokens of each, question included, longest first.
            tokens: Where they are in the packed row.
            left_to_right: Hide later source tokens.
        """
        length, device = int(sizes[0]), bucket.device
        column = torch.arange(length)
        is_true = column >= length - sizes[:, None]  # [n, L]
        seen = (is_true & (column < length - 1))[:, None, :]
        if left_to_right:
            seen = seen & (column <= column[:, None])
        question = column == length - 1
        self._allowed = sent(seen | (question[:, None] & question), device)
        positions = (column - (length - sizes[:, None])).clamp(min=0)
        self._positions = sent(positions, device)
        self._biases: dict[tuple[int | None, torch.dtype], Tensor] = {}
        self.bucket = bucket
        self.rows = rows
        self.tokens = tokens
        self.last = sent(tokens.start - 1 + sizes.cumsum(0), device)
        cells = is_true.flatten().nonzero().squeeze(1)
        places = (sizes.cumsum(0) - sizes)[:, None] + positions
        self.packing = PackedRows(is_true.shape, sent(cells, device), sent(places, device))

    def spread(self, packed: Tensor) -> Tensor:
        """[1, H, C, D] of all examples -> [n, H, L, D] of these."""
        flat = self.packing.flat(packed[:, :, self.tokens])
        return flat.view(self.last.shape[0], -1, *flat.shape[1:])

    def bias(
        self, relative: RelativePositionBias | None, window: int | None, dtype: torch.dtype
    ) -> Tensor:
        """[n, 1|H, L, L]; layers with the same window share it."""
        kind = (window, dtype)
        if kind not in self._biases:
            bias = distance_bias(self._allowed, self._positions, self._positions, relative, window)
            self._biases[kind] = kernel_bias(bias, dtype)
        return self._biases[kind]


def _arranged(
    entries: Sequence[Entry], lengths: Sequence[int]
) -> tuple[list[int], list[int], list[tuple[Bucket, slice]]]:
    """Bucket after bucket, in each the longest example first.

    Returns:
        The bucket's row of each example; which one it is; which of them share a rectangle.
    """
    rows: list[int] = []
    order: list[int] = []
    parts = []
    for entry in entries:
        both = sorted(
            zip(entry.rows, entry.examples, strict=True), key=lambda pair: -lengths[pair[1]]
        )
        start = len(order)
        rows += [row for row, _ in both]
        order += [example for _, example in both]
        sizes = [lengths[example] + 1 for _, example in both]
        for part in _parts(sizes, entry.bucket.device):
            parts.append((entry.bucket, slice(start + part.start, start + part.stop)))
    return rows, order, parts


def _parts(sizes: Sequence[int], device: torch.device) -> Iterator[slice]:
    """Which examples share a rectangle; all of them on a GPU, where a launch costs more than cells.

    Args:
        sizes: Of the examples, longest first.
        device: Where they will be.
    """
    start = 0
    for each, size in enumerate(sizes):
        saved = (len(sizes) - each) * (sizes[start] ** 2 - size**2)
        if device.type == "cpu" and size < SHORTER * sizes[start] and saved > WORTH_SAVING:
            yield slice(start, each)
            start = each
    yield slice(start, len(sizes))
