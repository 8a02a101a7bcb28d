"""The key/value cache of decoding: the examples of a running batch, in buckets.

    rows of the batch     0 1 2 3 4 | 5 6 7 8 9 10 | 11 12 13
    buckets               long      | shorter      | came later

Notable: examples that lie side by side share their columns, so each has as many as the longest
source and the oldest target among them need, and a step reads them all: for a few rows a step, that
is what attention costs. A bucket has columns of its own, and costs some calls a layer; one is begun
only where it saves more. On a GPU, where a call costs more than columns, and where shapes shall
stay the same, there is one bucket.

Letters: B examples of the batch, N that enter together, W beams an example.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from s2s_ft.model.bucket import Bucket
from s2s_ft.model.columns import CacheShape

WORTH_SAVING = 1_000
"""Columns, of all rows together, that a new bucket must save on a CPU: reading so many takes about
as long as the calls that it costs."""


@dataclass(frozen=True)
class Entry:
    """Newcomers that share a bucket.

    Attributes:
        bucket: Theirs.
        rows: Rows of the bucket that they have.
        examples: Which of the newcomers they are.
    """

    bucket: Bucket
    rows: list[int]
    examples: list[int]


class KeyValueCache:
    """Keys and values of the examples that are being decoded.

    Attributes:
        shape: Beams, rows, steps.
        device: Where everything lies.
    """

    def __init__(
        self,
        num_layers: int,
        shape: CacheShape,
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> None:
        """An empty cache; the arguments are those of a `Bucket`."""
        self.shape = shape
        self.device = device
        self._new_bucket = partial(Bucket, num_layers, shape, device, dtype)
        is_divided = device.type == "cpu" and not shape.fixed
        self._worth_saving = WORTH_SAVING if is_divided else math.inf
        self._buckets = [self._new_bucket()]

    @property
    def num_examples(self) -> int:
        """B, rows of the batch, vacant ones among them."""
        return sum(bucket.num_examples for bucket in self._buckets)

    def holds(self, layer: int) -> bool:
        """Whether a layer's keys and values have been written."""
        return any(bucket.holds(layer) for bucket in self._buckets)

    def buckets(self) -> Iterator[tuple[Bucket, slice]]:
        """Each bucket, and which rows of the batch are its rows."""
        start = 0
        for bucket in self._buckets:
            stop = start + bucket.num_examples
            yield bucket, slice(start, stop)
            start = stop

    # -- examples that come and go -----------------------------------------------------------------

    def place(self, rows: Sequence[int], lengths: Sequence[int], *, num_kept: int) -> list[Entry]:
        """Take examples in; `Bucket.write_source` writes their keys and values.

        Args:
            rows: N rows of the batch that they take: vacant ones, or new ones at the end. Of new
                ones buckets are made well only where the longest sources come first.
            lengths: True source tokens of each.
            num_kept: Rows of their first question that are kept: 1 for the causal method, else 0.

        Returns:
            Who went where.
        """
        size = self.num_examples
        new = sorted((each for each, row in enumerate(rows) if row >= size), key=rows.__getitem__)
        entries = [Entry(bucket, *_within(rows, span)) for bucket, span in self.buckets()]
        for bucket, examples in self._shares(new, [lengths[each] for each in new]):
            first = bucket.num_examples
            rows_there = [*range(first, first + len(examples))]
            if bucket is entries[-1].bucket:
                joined = entries.pop()
                rows_there, examples = joined.rows + rows_there, joined.examples + examples
            entries.append(Entry(bucket, rows_there, examples))
        entries = [entry for entry in entries if entry.rows]
        for entry in entries:
            of_entry = [lengths[each] for each in entry.examples]
            entry.bucket.place(entry.rows, of_entry, num_kept=num_kept)
        return entries

    def vacate(self, rows: Sequence[int]) -> None:
        """Examples have been decided: their rows stay in the batch, and nobody needs them."""
        for bucket, span in self.buckets():
            bucket.vacate(_within(rows, span)[0])

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Let the other examples leave.

        Args:
            rows: Those that stay.

        Returns:
            Their new order: row i is from now on what row `order[i]` was.
        """
        order = []
        for bucket, span in self.buckets():
            kept = _filled(_within(rows, span)[0])
            order += [span.start + row for row in kept]
            bucket.keep(kept)
        held = [each for each in self._buckets if each.num_examples]
        if held or self._worth_saving < math.inf:
            self._buckets = held or [self._new_bucket()]
        return order

    def reorder(self, parents: Tensor) -> None:
        """Beams go on from others.

        Args:
            parents: [B, W] int64 index of the beam that each new beam goes on from.
        """
        for bucket, span in self.buckets():
            bucket.reorder(parents[span])

    def advance(self, num_kept: int) -> None:
        """Keep the first `num_kept` rows of each beam that the last step wrote."""
        for bucket in self._buckets:
            bucket.advance(num_kept)

    # -- buckets -----------------------------------------------------------------------------------

    def _shares(
        self, examples: list[int], lengths: Sequence[int]
    ) -> Iterator[tuple[Bucket, list[int]]]:
        """Divide newcomers behind all others, of these lengths: the last bucket, new ones."""
        start = 0
        for size in _divided(lengths, self._worth_saving):
            part = slice(start, start + size)
            if start or _lost(self._buckets[-1], lengths[part]) > self._worth_saving:
                self._buckets.append(self._new_bucket())
            yield self._buckets[-1], examples[part]
            start += size


def _within(rows: Sequence[int], span: slice) -> tuple[list[int], list[int]]:
    """Those rows of the batch that are in a bucket, counted in it; and their places in `rows`."""
    places = [place for place, row in enumerate(rows) if span.start <= row < span.stop]
    return [rows[place] - span.start for place in places], places


def _filled(rows: Sequence[int]) -> list[int]:
    """Rows side by side from the first on: those from behind fill the gaps."""
    count, behind = len(rows), [row for row in rows if row >= len(rows)]
    kept = set(rows)
    return [row if row in kept else behind.pop() for row in range(count)]


def _divided(lengths: Sequence[int], worth_saving: float) -> list[int]:
    """How many of the newcomers, in their order, each bucket has: divided where that saves most
    columns, as long as it saves more than `worth_saving`.
    """
    longest_behind = [*accumulate(reversed(lengths), max)][::-1]
    saved = [
        (len(lengths) - place) * (longest_behind[0] - length)
        for place, length in enumerate(longest_behind)
    ]
    best = max(range(len(saved)), key=saved.__getitem__, default=0)
    if not saved or saved[best] <= worth_saving:
        return [len(lengths)]
    return _divided(lengths[:best], worth_saving) + _divided(lengths[best:], worth_saving)


def _lost(bucket: Bucket, lengths: Sequence[int]) -> int:
    """Columns that sources of these lengths and those in a bucket have for nothing if they join."""
    columns = bucket.columns
    num_live = sum(length > 0 for length in columns.lengths)
    if not num_live or not lengths:
        return 0
    longest, targets = max(lengths), columns.next - columns.source_size
    size = max(longest, columns.source_size)
    return len(lengths) * (size + targets - longest) + num_live * (size - columns.source_size)
