"""The examples of a packed batch in rectangles of like shape, all in one buffer.

    packed      a1 a2 a3 b1 b2 c1 c2 c3 c4 c5 | A1 A2 B1 C1
    rectangles  c1 c2 c3 c4 c5 . . . | C1 .  ..        one example
                a1 a2 a3 .           | A1 A2           two: their blocks have the same sizes when
                b1 b2 .  .           | B1 .            they are rounded up

Notable: attention costs the square of a row's length and is the one place where padding stands, so
rows are padded to the next step of `STEP`, not to the longest row of the batch. That there are few
shapes counts as well: oneDNN compiles a kernel for each, in the time of a small product or of ten.
Where several threads share the work, one rectangle holds the whole batch.

What stands in a cell of padding is its example's first row: nobody looks there, and where that row
is no number it is so for that example alone. Packed rows behind all true ones stand nowhere, and
what comes back to them is zero.

Letters: B batch, n examples of a rectangle, H heads, L row length of a rectangle, C packed rows, F
rows of the buffer, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from s2s_ft.layout import Batch
from s2s_ft.model.shapes import Steps, rounded

STEP = 16
"""Columns to which the source, and all that follows it, are rounded up: a vector of float32."""

MOST_CELLS = 1 << 18
"""Cells (rows times columns, of all its examples) that a rectangle has at most, but for one
example's: a megabyte of scores a head."""


@dataclass(frozen=True)
class Rectangle:
    """A few examples whose blocks are equally large.

    Attributes:
        batch: These examples alone, in blocks of this rectangle's sizes; what it says of packed
            rows (`cells`, `supervised` and the like) is the whole batch's.
        start: Cells of all rectangles before it.
    """

    batch: Batch
    start: int

    @property
    def halves(self) -> tuple[slice, slice]:
        """The columns of sources, and those of all that follows."""
        return slice(0, self.batch.source_size), slice(self.batch.source_size, None)

    def of(self, buffer: Tensor, heads: int) -> Tensor:
        """[F, D] -> [n * H, L, D], a view."""
        count, length = self.batch.ids.shape
        rows = slice(self.start * heads, (self.start + count * length) * heads)
        return buffer[rows].view(count * heads, length, -1)

    def halves_of(self, buffer: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        """[F, D] in halves -> [n * H, S, D] and [n * H, L - S, D], views."""
        count, length = self.batch.ids.shape
        start, split = self.start * heads, self.batch.source_size
        middle, stop = start + count * heads * split, start + count * heads * length
        return (
            buffer[start:middle].view(count * heads, split, -1),
            buffer[middle:stop].view(count * heads, length - split, -1),
        )


class Rectangles:
    """Moves packed rows into a buffer of rectangles and back."""

    def __init__(self, batch: Batch, steps: Steps, num_rows: int) -> None:
        """Sort the examples by shape.

        Args:
            batch: Its examples.
            steps: To what the blocks of a rectangle for the whole batch are rounded up.
            num_rows: Packed rows that there are, C or more.
        """
        self._num_rows = num_rows
        self.parts: list[Rectangle] = []
        self._places: list[Tensor] = []  # [n, L] each: which packed row stands there
        self._real: list[Tensor] = []  # [n, L] each: whether it belongs there
        packed_place = torch.zeros_like(batch.ids).view(-1)
        packed_place[batch.cells] = torch.arange(len(batch.cells), device=batch.cells.device)
        start = 0
        for examples, source, target in _alike(batch, steps):
            part, real, columns = _laid_out_anew(batch, examples, source, target)
            places = packed_place.view(batch.ids.shape)[examples][:, columns]
            self.parts.append(Rectangle(part, start))
            self._places.append(torch.where(real, places, places[:, :1]))
            self._real.append(real)
            start += real.numel()
        self._known: dict[tuple[int, bool], tuple[Tensor, Tensor]] = {}

    def spread(self, packed: Tensor, *, in_halves: bool = False) -> Tensor:
        """[1, H, C, D] -> [F, D], the heads of an example behind one another.

        Args:
            packed: The rows.
            in_halves: Put all sources of a rectangle before all that follows them; so each half can
                be multiplied as it is, where a slice of columns would be copied first.
        """
        places, _ = self._indices(packed.shape[1], in_halves=in_halves)
        return packed.transpose(1, 2).reshape(-1, packed.shape[3]).index_select(0, places)

    def spread_or_zero(self, packed: Tensor, *, in_halves: bool = False) -> Tensor:
        """The same, zero in the cells of padding."""
        places, cells = self._indices(packed.shape[1], in_halves=in_halves)
        rows = packed.transpose(1, 2).reshape(-1, packed.shape[3])
        spread = rows.new_zeros(places.shape[0], rows.shape[1])
        return spread.index_copy_(0, cells, rows[: len(cells)])

    def gather(self, buffer: Tensor, heads: int, *, in_halves: bool = False) -> Tensor:
        """[F, D] -> [1, H, C, D], stored row by row with the heads side by side."""
        _, cells = self._indices(heads, in_halves=in_halves)
        rows = buffer.new_empty(self._num_rows * heads, buffer.shape[1])
        torch.index_select(buffer, 0, cells, out=rows[: len(cells)])
        rows[len(cells) :].zero_()
        return rows.view(1, -1, heads, buffer.shape[1]).transpose(1, 2)

    def _indices(self, heads: int, *, in_halves: bool) -> tuple[Tensor, Tensor]:
        """For rows of one head: [F] which packed row stands there, and its inverse."""
        if (heads, in_halves) not in self._known:
            head = torch.arange(heads, device=self._places[0].device)[:, None]
            places, real = [], []
            for part, rows, is_real in zip(self.parts, self._places, self._real, strict=True):
                for columns in part.halves if in_halves else (slice(None),):
                    by_head = rows[:, None, columns] * heads + head  # [n, H, L]
                    places.append(by_head.reshape(-1))
                    real.append(is_real[:, None, columns].expand_as(by_head).reshape(-1))
            everywhere, true = torch.cat(places), torch.cat(real).nonzero().squeeze(1)
            cells = torch.empty_like(true)
            cells[everywhere[true]] = true
            self._known[heads, in_halves] = (everywhere, cells)
        return self._known[heads, in_halves]


def _alike(batch: Batch, steps: Steps) -> Iterator[tuple[Tensor, int, int]]:
    """Examples that share a rectangle, and the sizes of its source and target blocks.

    With several threads they all do: these wait for one another at the end of each operation, and
    many small ones take longer than padding does (5 % of an update on two cores).
    """
    if torch.get_num_threads() > 1:
        everyone = torch.arange(batch.num_examples, device=batch.ids.device)
        largest = rounded(batch.source_size, steps.columns)
        yield everyone, largest, rounded(batch.target_size, steps.columns)
        return
    blocks = 2 if batch.has_pseudo else 1
    sources = [rounded(size, STEP) for size in batch.source_lengths.tolist()]
    targets = [rounded(size, STEP // blocks) for size in batch.target_lengths.tolist()]
    shapes = list(zip(sources, targets, strict=True))
    order = sorted(range(len(shapes)), key=lambda example: shapes[example])
    for (source, target), members in groupby(order, key=lambda example: shapes[example]):
        same = list(members)
        most = max(1, MOST_CELLS // (source + blocks * target) ** 2)
        while same:
            count = 1 << (min(most, len(same)).bit_length() - 1)  # few shapes: 1, 2, 4, ...
            yield torch.tensor(same[:count], device=batch.ids.device), source, target
            del same[:count]


def _laid_out_anew(
    batch: Batch, examples: Tensor, source: int, target: int
) -> tuple[Batch, Tensor, Tensor]:
    """Some examples in blocks of other sizes.

    Returns:
        The batch of them, [n, L] whether a cell is true, and [L] the old column of each.
    """
    blocks = 2 if batch.has_pseudo else 1
    old_starts = [0, *(batch.source_size + i * batch.target_size for i in range(blocks))]
    old_sizes = [batch.source_size, *[batch.target_size] * blocks]
    new_sizes = [source, *[target] * blocks]
    device = batch.ids.device
    offsets = [torch.arange(size, device=device) for size in new_sizes]
    columns = torch.cat(
        [
            start + offset.clamp(max=size - 1)
            for start, size, offset in zip(old_starts, old_sizes, offsets, strict=True)
        ]
    )
    sources, targets = batch.source_lengths[examples], batch.target_lengths[examples]
    real = torch.cat(
        [
            offset < lengths[:, None]
            for offset, lengths in zip(offsets, [sources, *[targets] * blocks], strict=True)
        ],
        dim=1,
    )
    part = replace(
        batch,
        ids=batch.ids[examples][:, columns],
        positions=batch.positions[examples][:, columns],
        source_lengths=sources,
        target_lengths=targets,
        source_size=source,
        target_size=target,
    )
    return part, real, columns
