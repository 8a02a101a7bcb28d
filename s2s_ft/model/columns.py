"""Which columns of the key/value cache hold what, who may look at them, and when they are laid out
anew. What lies in the columns is the business of `bucket.py`, whose picture this file shares.

Notable: target columns are only ever appended, and all examples of a bucket write the same ones at
the same time, whenever they came. What belongs to a beam's own history is a matter of who may look,
so when beams go on from others, only their rows of this table move. Products take all columns, free
ones masked, so their shapes stay the same for a while. Then the layout is renewed: columns that no
beam looks at any more are dropped, and there is room for more steps.

Letters: B examples of a bucket, N that enter together, W beams an example, Q rows a beam feeds, S
columns for sources, K columns in all, n live target columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from s2s_ft.model.pattern import MASKED
from s2s_ft.transfer import sent

_ALIGNMENT = 32
"""K is a multiple of this, as kernels like it."""

_SOURCE_ALIGNMENT = 64
"""S is a multiple of this where shapes shall stay the same from batch to batch."""


@dataclass(frozen=True, kw_only=True)
class CacheShape:
    """What a search needs of its cache.

    Attributes:
        num_beams: W.
        num_rows: Q.
        num_steps: Most target tokens of an example.
        fixed: Whether K shall stay the same as long as possible: for compiled steps.
    """

    num_beams: int
    num_rows: int
    num_steps: int
    fixed: bool = False

    @property
    def num_new(self) -> int:
        """Columns that a step writes."""
        return self.num_rows * self.num_beams

    def source_size(self, longest: int) -> int:
        """S for sources of at most this length."""
        step = _SOURCE_ALIGNMENT if self.fixed else 1
        return -(-longest // step) * step

    def width(self, used: int) -> int:
        """K, so that there is room behind `used` columns."""
        steps = self.num_steps
        steps = steps + 2 if self.fixed else min(steps, _steps_between(used, self.num_beams))
        wanted = used + 1 + (steps + self.num_rows) * self.num_beams
        return -(-wanted // _ALIGNMENT) * _ALIGNMENT


@dataclass(frozen=True)
class Renewal:
    """How an old layout becomes a new one: sources first, then the live target columns.

    Attributes:
        source_from: Old columns of the sources that stay, side by side.
        source_to: Where they go.
        target_from: [B, n] int64 old target columns of each example that stay.
        target_to: Where they go, side by side.
    """

    source_from: slice
    source_to: slice
    target_from: Tensor
    target_to: slice


class Columns:
    """The layout of the columns, one for all layers.

    Attributes:
        shape: Beams, rows, steps.
        source_size: S.
        next: The column that the next step writes first.
        written: [Q * W] int64 the columns that the next step writes.
        lengths: True source tokens of each row of the bucket; 0 = the row is vacant.
    """

    def __init__(self, shape: CacheShape, device: torch.device) -> None:
        """No example, no column."""
        self.shape = shape
        self.source_size = 0
        self.next = 0
        self.lengths: list[int] = []
        self.written = torch.arange(shape.num_new, device=device)
        beams, rows = shape.num_beams, shape.num_rows
        self._seen = torch.empty(0, rows, beams, 0, device=device)  # 0, or else MASKED
        self._positions = torch.empty(0, 0, dtype=torch.long, device=device)  # of each column
        self._next_positions = torch.empty(0, dtype=torch.long, device=device)
        self._last_positions = torch.empty(0, dtype=torch.long, device=device)
        self._pattern = _pattern_of_new_columns(shape, device)
        self._row_numbers = torch.arange(rows, device=device).repeat_interleave(beams)

    @property
    def num_examples(self) -> int:
        """B, rows of the bucket, vacant ones among them."""
        return len(self.lengths)

    @property
    def capacity(self) -> int:
        """Rows that there is room for."""
        return self._seen.shape[0]

    @property
    def width(self) -> int:
        """K."""
        return self._seen.shape[3]

    @property
    def is_full(self) -> bool:
        """Whether the next step finds no room."""
        return self.next + self.shape.num_new > self.width

    def fill(self, rows: Tensor, lengths: Tensor, num_kept: int) -> None:
        """Show examples that enter their source, and their first question where it is kept.

        Args:
            rows: [N] int64.
            lengths: [N] int64 true source tokens.
            num_kept: Rows of the first question that are kept, 0 or 1.
        """
        column = torch.arange(self.width, device=rows.device)
        positions = column - (self.source_size - lengths[:, None])  # [N, K]
        is_kept_question = (column == self.next - 1) & (num_kept > 0)
        shown = (positions >= 0) & (column < self.source_size) | is_kept_question
        bias = torch.where(shown, 0.0, MASKED)[:, None, None, :]
        self._seen[rows] = bias.expand(-1, *self._seen.shape[1:3], -1)
        self._positions[rows] = torch.where(is_kept_question, lengths[:, None], positions)
        self._next_positions[rows] = lengths + num_kept
        self._last_positions[rows] = lengths + self.shape.num_steps

    def move(self, old: Tensor, new: Tensor) -> None:
        """Examples in rows `old` take the rows `new`."""
        tables = (self._seen, self._positions, self._next_positions, self._last_positions)
        for table in tables:
            table[new] = table[old]

    def reorder(self, parents: Tensor) -> None:
        """Beams go on from `parents` [B, W] int64."""
        end = None if self.shape.fixed else self.next
        kept = self._seen[: self.num_examples, :, :, self.source_size : end]
        index = parents[:, None, :, None].expand(-1, self.shape.num_rows, -1, kept.shape[-1])
        kept.copy_(kept.gather(2, index))

    def seen(self) -> Tensor:
        """[B, Q * W, K] float32: what each new row may look at, 0, or else `MASKED`."""
        seen = self._seen[: self.num_examples]
        if self.shape.fixed:
            seen.index_copy_(3, self.written, self._pattern.expand(len(seen), -1, -1, -1))
        else:
            seen[..., self.next : self.next + self.shape.num_new] = self._pattern
        return seen.flatten(1, 2)

    def positions(self) -> Tensor:
        """[B, Q * W] int64 positions of the new rows."""
        rows = slice(self.num_examples)
        positions = self._next_positions[rows, None] + self._row_numbers
        # A row that is vacant, or decided and not yet known to be, may run on beyond its end.
        return positions.minimum(self._last_positions[rows, None])

    def column_positions(self) -> Tensor:
        """[B, K] int64 position of each column, those that the next step writes included; of no
        meaning where nobody may look.
        """
        positions = self._positions[: self.num_examples]
        return positions.index_copy_(1, self.written, self.positions())

    def advance(self, num_kept: int) -> None:
        """Keep the first `num_kept` rows of each beam that the last step wrote."""
        self.skip(num_kept * self.shape.num_beams)
        self._next_positions[: self.num_examples] += num_kept

    def skip(self, columns: int) -> None:
        """Go on behind some columns."""
        self.next += columns
        self.written += columns

    def start_over(self, rows: int, longest: int) -> bool:
        """No example is left: begin at the first column again.

        Returns:
            Whether the layout is a new one, and buffers of the old one are of no use.
        """
        suits = longest <= self.source_size and rows <= self.capacity
        if not self.shape.fixed:  # columns that are there for nothing make every product slow
            suits = suits and self.source_size <= longest + longest // 16
        if not suits:
            self.source_size = self.shape.source_size(longest)
            capacity, width = max(rows, self.capacity), self.shape.width(self.source_size)
            self._seen = self._seen.new_full((capacity, *self._seen.shape[1:3], width), MASKED)
            self._positions = self._positions.new_zeros(capacity, width)
            self._next_positions = self._next_positions.new_zeros(capacity)
            self._last_positions = self._last_positions.new_zeros(capacity)
        self.skip(self.source_size - self.next)
        return not suits

    def renew(self, capacity: int, longest: int) -> Renewal:
        """Lay everything out anew, with room for steps to come, without what nobody looks at.

        Args:
            capacity: Rows that there shall be room for, at least those there are.
            longest: Source tokens that there must be room for, beside those of the examples.
        """
        old_size = self.source_size
        size = self.shape.source_size(max(longest, *self.lengths))
        shared = min(size, old_size)
        target = self._live_columns()
        renewal = Renewal(
            source_from=slice(old_size - shared, old_size),
            source_to=slice(size - shared, size),
            target_from=target,
            target_to=slice(size, size + target.shape[1]),
        )
        examples, filled = len(target), size + target.shape[1]
        width = self.shape.width(filled)
        index = target[:, None, None].expand(-1, *self._seen.shape[1:3], -1)
        seen = self._seen.new_full((capacity, *self._seen.shape[1:3], width), MASKED)
        seen[:examples, ..., renewal.source_to] = self._seen[:examples, ..., renewal.source_from]
        seen[:examples, ..., renewal.target_to] = self._seen[:examples].gather(3, index)
        positions = self._positions.new_zeros(capacity, width)
        source = self._positions[:examples, renewal.source_from]
        positions[:examples, renewal.source_to] = source
        positions[:examples, renewal.target_to] = self._positions[:examples].gather(1, target)
        self._seen, self._positions = seen, positions
        self._next_positions = _resized(self._next_positions, capacity)
        self._last_positions = _resized(self._last_positions, capacity)
        self.source_size = size
        self.skip(filled - self.next)
        return renewal

    def _live_columns(self) -> Tensor:
        """[B, n] int64 the target columns that some beam looks at, first ones first; where an
        example has fewer than n, masked ones fill up.
        """
        examples = min(self.num_examples, self.capacity)
        seen = self._seen[:examples, 0, :, self.source_size : self.next]
        occupied = torch.tensor([length > 0 for length in self.lengths[:examples]])
        live = (seen == 0.0).any(dim=1) & sent(occupied, seen.device)[:, None]
        count = int(live.sum(dim=1).max())
        order = live.int().argsort(dim=1, descending=True, stable=True)
        return order[:, :count] + self.source_size


def _steps_between(used: int, num_beams: int) -> int:
    """Steps from one renewal to the next: more means more free columns in every product, fewer more
    copying. Half of n steps' columns are free on average, and a renewal costs about as much as
    reading 3/2 of the used ones, so the sum is least where n * n is 3 * used / beams.
    """
    return max(4, math.isqrt(3 * used // num_beams))


def _pattern_of_new_columns(shape: CacheShape, device: torch.device) -> Tensor:
    """[Q, W, Q * W]: each new row looks at its own beam's rows of this step, up to itself."""
    rows, beams = shape.num_rows, shape.num_beams
    before = torch.ones(rows, rows, device=device).tril().bool()
    own = torch.eye(beams, device=device).bool()
    seen = before[:, None, :, None] & own[None, :, None, :]
    return torch.where(seen, 0.0, MASKED).view(rows, beams, rows * beams)


def _resized(tensor: Tensor, size: int) -> Tensor:
    """[size], the old entries first, as many as there is room for."""
    return torch.cat([tensor, tensor.new_zeros(max(0, size - tensor.shape[0]))])[:size]
