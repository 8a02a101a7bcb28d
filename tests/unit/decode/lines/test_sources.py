"""Rows become items, and items are cut into shares: each row once, the same way every time."""

from types import SimpleNamespace

import numpy as np
import pytest

from s2s_ft.decode.lines.rows import Row
from s2s_ft.decode.lines.sources import FEWEST_BATCHES, MOST_BATCHES, Item, Reading, Sources
from s2s_ft.decode.search.requests import Request


def sources(lengths):
    items = [Item(Request(index, np.arange(size)), index + 1) for index, size in enumerate(lengths)]
    return Sources(items)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 33, 1000, 20_000])
@pytest.mark.parametrize("batch_size", [1, 4, 128])
def test_every_row_is_in_one_share_longest_first(count, batch_size):
    lengths = np.random.default_rng(count).integers(0, 50, count)
    shares = sources(lengths).shares(batch_size)
    assert [share.number for share in shares] == list(range(len(shares)))
    found = [item for share in shares for item in share.items]
    assert sorted(item.index for item in found) == list(range(count))
    sizes = [item.request.source.size for item in found]
    assert sizes == sorted(sizes, reverse=True)
    for share in shares[:-1]:
        assert FEWEST_BATCHES * batch_size <= len(share.items) <= MOST_BATCHES * batch_size


def test_the_last_shares_are_small_so_that_processes_end_together():
    sizes = [len(share.items) for share in sources([5] * 2000).shares(4)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 4 * MOST_BATCHES
    assert sizes[-1] <= 4 * FEWEST_BATCHES


def test_equally_long_rows_stay_in_order():
    (share,) = sources([3, 5, 3, 0, 5]).shares(100)
    assert [item.index for item in share.items] == [1, 4, 0, 2, 3]
    assert [item.is_empty for item in share.items] == [False] * 4 + [True]


def test_rows_before_one_that_has_no_tokens_come_first():
    def encode(texts):
        if "?" in texts:
            raise ValueError("no token for it")
        return [[7] * len(text) for text in texts]

    method = SimpleNamespace(max_source_length=9, num_source_special=2, source=lambda ids: ids)
    reading = Reading(SimpleNamespace(encode=encode), method, "standard input")
    rows = (Row(text, number) for number, text in enumerate(["aa", "a", "?", "a"], start=1))
    items = reading.items(rows)
    assert [next(items).request.source.size for _ in range(2)] == [2, 1]
    with pytest.raises(ValueError, match="standard input, line 3: no token for it"):
        next(items)
