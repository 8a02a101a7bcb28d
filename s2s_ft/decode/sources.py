"""From the rows of a file to what the search is fed: framed, cut token ids, batched by length.

Notable: nothing here depends on the batch. Every source is cut to the same room, so that the
longest allowed target always fits behind it, whatever it is batched with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from s2s_ft.data.examples import Example, read_examples
from s2s_ft.methods import Method
from s2s_ft.options.decode import DecodeDataOptions
from s2s_ft.text import TextCodec

CHUNK_SIZE = 4096
"""Rows that are tokenised at a time."""


@dataclass
class Sources:
    """The sources of a file.

    Attributes:
        ids: one array of int64 token ids a row, special tokens included; of size 0 where the row
            has no token.
        num_truncated: rows that lost tokens at their end.
    """

    ids: list[npt.NDArray[np.int64]] = field(default_factory=list)
    num_truncated: int = 0

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.ids)

    @property
    def num_empty(self) -> int:
        """Rows without any token."""
        return sum(not ids.size for ids in self.ids)

    def batches(self, batch_size: int) -> Iterator[list[int]]:
        """Indices of the rows that have tokens, longest first, `batch_size` at a time."""
        filled = [index for index, ids in enumerate(self.ids) if ids.size]
        filled.sort(key=lambda index: -self.ids[index].size)
        for start in range(0, len(filled), batch_size):
            yield filled[start : start + batch_size]


def read_sources(options: DecodeDataOptions, codec: TextCodec, method: Method) -> Sources:
    """Read, tokenise, frame and cut the sources of `--input_file`, or the first `--subset` of them.

    Raises:
        ValueError: a row is not as it should be; the message names the file and the line.
    """
    rows = read_examples(
        options.input_file,
        source_key=options.source_key,
        target_key=options.target_key,
        target_required=False,
        allow_empty_source=True,
        limit=options.subset if options.subset > 0 else None,
    )
    sources = Sources()
    room = method.max_source_length - method.num_source_special
    for chunk in _chunks(rows):
        for tokens in codec.encode([row.source for row in chunk]):
            ids = np.array(tokens, dtype=np.int64)
            sources.num_truncated += ids.size > room
            sources.ids.append(method.source(ids) if ids.size else ids)
    return sources


def _chunks(rows: Iterator[Example]) -> Iterator[list[Example]]:
    while chunk := list(islice(rows, CHUNK_SIZE)):
        yield chunk
