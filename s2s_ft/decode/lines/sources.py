"""From the rows of an input to what the search is fed: framed, cut token ids, longest first.

Notable: nothing here depends on the batch. Every source is cut to the same room, so that the
longest allowed target always fits behind it, whatever it is batched with. The input is cut into
*shares* of rows of similar length; where shares are decoded, and in which order, is the business of
whoever hands them out, and the cut depends on the input and on the size of a batch alone. So one
process, several of them and a run that goes on after an interruption all meet the same batches, and
give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np

from s2s_ft.decode.lines.rows import Row
from s2s_ft.decode.rules.words import wanted_phrases, wanted_prefix
from s2s_ft.decode.search.requests import Request
from s2s_ft.methods import Method
from s2s_ft.text import TextCodec

CHUNK_SIZE = 512
"""Rows that are tokenised at a time."""

FEWEST_BATCHES, MOST_BATCHES = 1, 16
"""Rows of a share, in batches: many, as a share begins and ends with a batch that is not full."""

SHARE_OF_THE_REST = 8
"""A share takes this part of the rows that are left, so that the last ones are small and processes
end together."""


@dataclass(frozen=True)
class Item:
    """One row, ready for the search.

    Attributes:
        request: `request.key` is the row's number, from 0; its source has no id where the row has
            no token.
        line: Line in the input, from 1.
        label: What the row has for an `id`.
        is_cut: Whether it lost tokens at its end.
    """

    request: Request
    line: int
    label: Any = None
    is_cut: bool = False

    @property
    def index(self) -> int:
        """The row's number, from 0."""
        return self.request.key

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read."""
        return not self.request.source.size


@dataclass
class Tally:
    """What of the rows the model does not see.

    Attributes:
        unknown_id: Of the token that stands for what the vocabulary lacks; None = there is none.
        num_rows: Rows, as all that follows.
        num_empty: Those without any token.
        num_cut: Those that lost tokens at their end.
        num_tokens: What they have, special ones included.
        num_unknown: Of these, what the vocabulary lacks.
    """

    unknown_id: int | None
    num_rows: int = 0
    num_empty: int = 0
    num_cut: int = 0
    num_tokens: int = 0
    num_unknown: int = 0

    def add(self, items: Sequence[Item]) -> None:
        """Count further rows."""
        self.num_rows += len(items)
        self.num_empty += sum(item.is_empty for item in items)
        self.num_cut += sum(item.is_cut for item in items)
        self.num_tokens += sum(item.request.source.size for item in items)
        if self.unknown_id is not None:
            unknown = (item.request.source == self.unknown_id for item in items)
            self.num_unknown += sum(int(found.sum()) for found in unknown)


@dataclass(frozen=True)
class Share:
    """Some rows that are decoded together, longest first."""

    number: int
    items: Sequence[Item]


@dataclass
class Sources:
    """All rows of an input, in its order."""

    items: list[Item]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.items)

    def shares(self, batch_size: int) -> list[Share]:
        """The rows cut into shares: longest first, empty ones last.

        Args:
            batch_size: Rows that are decoded at a time, about.
        """
        items = longest_first(self.items)
        shares: list[Share] = []
        while items:
            size = min(
                max(len(items) // SHARE_OF_THE_REST, FEWEST_BATCHES * batch_size),
                MOST_BATCHES * batch_size,
            )
            shares.append(Share(len(shares), items[:size]))
            items = items[size:]
        return shares


def longest_first(items: Iterable[Item]) -> list[Item]:
    """Items by the length of their sources; equally long ones stay in order."""
    return sorted(items, key=lambda item: -item.request.source.size)


@dataclass(frozen=True)
class Reading:
    """How rows become items.

    Attributes:
        codec: Tokenises.
        method: Frames sources, and says how long they and outputs may be.
        name: Of the input, for messages.
        force_words: What every output must hold, beside what its row asks for.
        without_words: Flag with which no row can ask for words; empty where it can.
    """

    codec: TextCodec
    method: Method
    name: str = ""
    force_words: tuple[tuple[int, ...], ...] = ()
    without_words: str = ""

    def tally(self, items: Sequence[Item] = ()) -> Tally:
        """What the model does not see of items, and of those that are added."""
        unknown, special = self.codec.unknown_id, self.codec.special
        # A tokenizer that can write everything may have another's place for it.
        is_special = unknown in (special.cls, special.sep, special.pad, special.mask)
        tally = Tally(None if is_special else unknown)
        tally.add(items)
        return tally

    def items(self, rows: Iterable[Row], first: int = 0) -> Iterator[Item]:
        """The items of rows, in order, numbered from `first` on.

        Raises:
            ValueError: what a row wants of its output cannot be; the message names its line.
        """
        rows = iter(rows)
        while chunk := list(islice(rows, CHUNK_SIZE)):
            yield from self._items(chunk, first)
            first += len(chunk)

    def _items(self, rows: Sequence[Row], first: int) -> Iterator[Item]:
        room = self.method.max_source_length - self.method.num_source_special
        for number, (row, tokens) in enumerate(zip(rows, self._encoded(rows), strict=True)):
            ids = np.array(tokens, dtype=np.int64)
            prefix, phrases = self._wishes(row)
            request = Request(
                key=first + number,
                source=self.method.source(ids) if ids.size else ids,
                prefix=prefix,
                phrases=self.force_words + phrases,
            )
            yield Item(request, row.line, row.label, is_cut=ids.size > room)

    def _encoded(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """The tokens of the sources, up to the first that has none; its line is named."""
        found: Iterable[list[int]]
        try:
            found = self.codec.encode([row.source for row in rows])
        except ValueError as fault:
            if len(rows) == 1:
                raise self._fault(rows[0], str(fault)) from fault
            found = chain.from_iterable(self._encoded([row]) for row in rows)
        yield from found

    def _wishes(self, row: Row) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """What a row wants at the beginning of its output, and what inside of it."""
        if not row.prefix and not row.force_words:
            return (), ()
        if row.force_words and self.without_words:
            flag = f"{self.without_words} (given, or the checkpoint's default)"
            raise self._fault(row, f"force_words and {flag} exclude each other")
        try:
            prefix = wanted_prefix(row.prefix, self.codec) if row.prefix else ()
            phrases = wanted_phrases(row.force_words, self.codec, "force_words")
        except ValueError as fault:
            raise self._fault(row, str(fault).removeprefix("--")) from fault
        if self.codec.special.pad in prefix:  # whoever writes the output would cut it there
            raise self._fault(row, "its prefix holds the padding token: leave it out")
        wanted = len(prefix) + sum(map(len, {*self.force_words, *phrases}))
        if wanted >= self.method.max_target_length:
            raise self._fault(
                row,
                f"its prefix and force_words have {wanted} tokens, and outputs "
                f"{self.method.max_target_length} at most, the end token included",
            )
        return prefix, phrases

    def _fault(self, row: Row, message: str) -> ValueError:
        return ValueError(f"{self.name}, line {row.line}: {message}")
