"""What the compiled kernel is told of a batch: whose the packed rows are, and who looks at whom.

    packed rows   a1 a2 a3 b1 b2 | A1 A2 B1      by example   a1 a2 a3 A1 A2 | b1 b2 B1

Letters: C packed rows, n examples, L rows of an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from s2s_ft.layout import Batch

_READ_BEHIND = 64
"""Bytes that are readable behind a pattern's end: no vector has more numbers."""


@dataclass(frozen=True)
class Examples:
    """Where the rows of each example are.

    Attributes:
        rows: [C] int64 packed rows, example after example: source, then all that follows it.
        starts: [n + 1] int64 where an example begins in them.
        sources: [n] int64 rows of the source.
        columns: [C] int64 column of each in the batch's rectangle.
        longest: Most rows of an example.
        num_rows: Packed rows that there are, C or more; those beyond belong to nobody.
    """

    rows: Tensor
    starts: Tensor
    sources: Tensor
    columns: Tensor
    longest: int
    num_rows: int

    @classmethod
    def of(cls, batch: Batch, num_rows: int) -> Examples:
        """Sort the packed rows of a batch by example."""
        length = batch.ids.shape[1]
        cells, rows = batch.cells.sort()
        counts = torch.bincount(cells // length, minlength=batch.num_examples)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        sources = batch.source_lengths.contiguous()
        return cls(rows, starts, sources, cells % length, int(counts.max()), num_rows)


@dataclass(frozen=True)
class Pattern:
    """Who looks at whom, of true rows alone.

    Attributes:
        seen: uint8, [L, L] of each example behind one another, then some bytes more.
        starts: [n] int64 where an example's begins.
        source_sees_all: Whether every source row looks at the whole source.
        rest_sees_source: Whether every other row does.
    """

    seen: Tensor
    starts: Tensor
    source_sees_all: bool
    rest_sees_source: bool

    @classmethod
    def of(
        cls, examples: Examples, allowed: Tensor, *, source_sees_all: bool, rest_sees_source: bool
    ) -> Pattern:
        """Take the rows and columns of true tokens.

        Args:
            examples: Which these are.
            allowed: [n, Lmax, Lmax] bool, of the batch's rectangle.
            source_sees_all: See above.
            rest_sees_source: See above.
        """
        bounds = examples.starts.tolist()
        parts = []
        for example, (start, stop) in enumerate(pairwise(bounds)):
            columns = examples.columns[start:stop]
            parts.append(allowed[example][columns][:, columns].flatten())
        behind = torch.zeros(_READ_BEHIND, dtype=torch.bool)
        counts = examples.starts.diff()
        starts = torch.cat([counts.new_zeros(1), (counts * counts).cumsum(0)[:-1]])
        seen = torch.cat([*parts, behind]).view(torch.uint8)
        return cls(seen, starts, source_sees_all, rest_sees_source)
