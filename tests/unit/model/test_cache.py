"""The cache against beams that physically carry their own histories along, whatever happens in the
batch: beams go on from others, examples come and leave, buffers are renewed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from s2s_ft.model import cache, columns, encode_pass
from s2s_ft.model.attention import AttentionCall
from s2s_ft.model.cache import KeyValueCache
from s2s_ft.model.columns import CacheShape
from s2s_ft.model.encode_pass import EncodePass
from s2s_ft.model.passes import StepPass

HEADS, GROUPS, SIZE, BEAMS = 4, 2, 8, 3

CALL = AttentionCall(SIZE**-0.5, 0.0, None)


@dataclass
class Copied:
    """An example whose beams each hold a copy of everything they may look at: [n, G, D]."""

    keys: list[Tensor]
    values: list[Tensor]
    positions: list[list[int]] = field(default_factory=list)


def attend(query: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
    """One row: query [H, D] over keys and values [n, G, D] where `seen` [n]."""
    result = []
    for head in range(HEADS):
        group = head // (HEADS // GROUPS)
        scores = keys[:, group] @ query[head] * CALL.scaling
        weights = scores.masked_fill(~seen, -torch.inf).softmax(0)
        result.append(weights @ values[:, group])
    return torch.stack(result)


class Both:
    """A cache and its reference, fed with the same random rows."""

    def __init__(self, num_rows: int, window: int | None, *, fixed: bool) -> None:
        self.generator = torch.Generator().manual_seed(num_rows)
        shape = CacheShape(num_beams=BEAMS, num_rows=num_rows, num_steps=12, fixed=fixed)
        self.cache = KeyValueCache(1, shape, torch.device("cpu"))
        self.num_rows = num_rows
        self.window = window
        self.rows: list[Copied | None] = []

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def admit(self, rows: list[int], lengths: list[int]) -> None:
        kept = 1 if self.num_rows == 1 else 0
        entries = self.cache.place(rows, lengths, num_kept=kept)
        plan = EncodePass(entries, lengths, None, num_kept=kept, left_to_right=False)
        tokens = sum(lengths) + len(lengths)
        key, value = (self.random(1, GROUPS, tokens, SIZE) for _ in range(2))
        query = self.random(1, HEADS, tokens, SIZE)
        found = plan.attend(0, query, key, value, CALL)
        self.rows += [None] * (max(rows) + 1 - len(self.rows))
        for row, length, last in zip(rows, lengths, plan.read_rows.tolist(), strict=True):
            held = slice(last - length, last + 1)
            keys, values = key[0, :, held].transpose(0, 1), value[0, :, held].transpose(0, 1)
            everything = torch.ones(length + 1, dtype=torch.bool)
            wanted = attend(query[0, :, last], keys, values, everything)
            torch.testing.assert_close(found[0, :, last], wanted, atol=1e-5, rtol=1e-5)
            end = length + kept
            self.rows[row] = Copied(
                [keys[:end]] * BEAMS, [values[:end]] * BEAMS, [list(range(end))] * BEAMS
            )

    def step(self) -> None:
        count, width = self.cache.num_examples, self.num_rows * BEAMS
        key, value = (self.random(count, GROUPS, width, SIZE) for _ in range(2))
        query = self.random(count, HEADS, width, SIZE)
        call = AttentionCall(CALL.scaling, 0.0, self.window)
        found = StepPass(self.cache, None).attend(0, query, key, value, call)
        for row, copied in enumerate(self.rows):
            if copied is not None:
                self.check(copied, found[row], query[row], (key[row], value[row]))
        self.cache.advance(1)
        parents = torch.randint(BEAMS, (count, BEAMS), generator=self.generator)
        self.cache.reorder(parents)
        for row, copied in enumerate(self.rows):
            if copied is not None:
                chosen = parents[row].tolist()
                copied.keys = [copied.keys[beam] for beam in chosen]
                copied.values = [copied.values[beam] for beam in chosen]
                copied.positions = [copied.positions[beam] for beam in chosen]

    def check(
        self, copied: Copied, found: Tensor, query: Tensor, new: tuple[Tensor, Tensor]
    ) -> None:
        """Compare the rows of one example, and keep its first new row of every beam."""
        key, value = (part.transpose(0, 1) for part in new)  # [Q * W, G, D]
        for beam in range(BEAMS):
            keys, values = copied.keys[beam], copied.values[beam]
            positions = list(copied.positions[beam])
            for number in range(self.num_rows):
                place = number * BEAMS + beam
                keys = torch.cat([keys, key[place : place + 1]])
                values = torch.cat([values, value[place : place + 1]])
                positions.append(positions[-1] + 1)
                seen = torch.ones(len(keys), dtype=torch.bool)
                if self.window is not None:
                    seen = positions[-1] - torch.tensor(positions) < self.window
                wanted = attend(query[:, place], keys, values, seen)
                torch.testing.assert_close(found[:, place], wanted, atol=1e-5, rtol=1e-5)
            length = len(copied.keys[beam]) + 1
            copied.keys[beam], copied.values[beam] = keys[:length], values[:length]
            copied.positions[beam] = positions[:length]

    def vacate(self, rows: list[int]) -> None:
        self.cache.vacate(rows)
        for row in rows:
            self.rows[row] = None

    def keep(self, rows: list[int]) -> None:
        order = self.cache.keep(rows)
        assert sorted(order) == rows
        self.rows = [self.rows[row] for row in order]

    def bucket_sizes(self) -> list[int]:
        return [bucket.num_examples for bucket, _ in self.cache.buckets()]


@pytest.mark.parametrize("divided", [True, False], ids=["buckets", "one bucket"])
@pytest.mark.parametrize("worth_saving", [0, 10_000], ids=["rectangles", "one rectangle"])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("num_rows", [1, 2], ids=["causal", "masked style"])
def test_cache_equals_beams_with_histories_of_their_own(
    num_rows: int,
    window: int | None,
    fixed: bool,
    worth_saving: int,
    divided: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(columns, "_steps_between", lambda used, num_beams: 3)
    monkeypatch.setattr(cache, "WORTH_SAVING", 0 if divided else 10_000)
    monkeypatch.setattr(encode_pass, "WORTH_SAVING", worth_saving)
    both = Both(num_rows, window, fixed=fixed)
    several = divided and not fixed
    both.admit([0, 1, 2], [9, 7, 5])
    assert both.bucket_sizes() == ([1, 1, 1] if several else [3])
    for _ in range(4):
        both.step()
    both.vacate([1])
    both.step()
    both.admit([1, 3], [4, 6])  # a vacant row and a new one
    assert both.bucket_sizes() == ([1, 1, 1, 1] if several else [4])
    for _ in range(3):
        both.step()
    both.vacate([0, 2])
    both.keep([1, 3])
    for _ in range(4):
        both.step()
    both.admit([2, 3], [13, 2])  # a longer source than any before
    for _ in range(3):
        both.step()
    both.vacate([0, 1, 2, 3])
    both.admit([0, 1], [6, 6])  # all are new
    both.keep([0, 1])
    for _ in range(8):
        both.step()
    both.vacate([0, 1])
    both.keep([])
    both.admit([0, 1, 2], [3, 3, 3])
    assert both.bucket_sizes() == [3]
    both.step()


def test_rows_that_stay_fill_the_gaps_of_their_own_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WORTH_SAVING", 30)
    both = Both(1, None, fixed=False)
    both.admit([*range(7)], [40, 39, 38, 9, 9, 8, 7])
    assert both.bucket_sizes() == [3, 4]
    both.step()
    both.vacate([0, 3, 4])
    assert both.cache.keep([1, 2, 5, 6]) == [2, 1, 6, 5]
    both.rows = [both.rows[row] for row in (2, 1, 6, 5)]
    assert both.bucket_sizes() == [2, 2]
    both.step()


def capacities(both: Both) -> list[int]:
    return [bucket.columns.capacity for bucket, _ in both.cache.buckets()]


def test_memory_of_those_who_left_is_given_back() -> None:
    both = Both(1, None, fixed=False)
    both.admit([*range(6)], [9] * 6)
    both.step()
    both.vacate([1])
    both.keep([0, 2, 3, 4, 5])
    assert capacities(both) == [6]  # for few it is not worth the copying
    both.step()
    both.vacate([0, 1, 2, 4])
    both.keep([3])
    (bucket, _), *_ = both.cache.buckets()
    assert capacities(both) == [1]
    for buffer in (*bucket._keys, *bucket._values):
        assert buffer is not None
        assert len(buffer) == 1
    both.step()
    both.vacate([0])
    both.keep([])
    both.admit([0], [30])
    assert capacities(both) == [1]
    both.step()


@pytest.mark.parametrize("fixed", [False, True])
def test_a_newcomer_meets_nothing_of_who_was_there_before(fixed: bool) -> None:
    """Numbers that are none stay none even where they are masked."""
    both = Both(2, None, fixed=fixed)
    both.admit([0, 1], [9, 8])
    for rows in ([1], [0, 1]):  # beside somebody, and after all have left
        both.step()
        both.vacate(rows)
        (bucket, _), *_ = both.cache.buckets()
        for buffer in (*bucket._keys, *bucket._values):
            assert buffer is not None
            buffer[rows] = torch.nan
        both.admit(rows, [4] * len(rows))
        both.step()


def test_newcomers_join_the_last_bucket_where_that_costs_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache, "WORTH_SAVING", 30)
    both = Both(1, None, fixed=False)
    both.admit([0, 1], [20, 20])
    both.step()
    both.admit([2], [18])  # has four columns too many
    assert both.bucket_sizes() == [3]
    both.admit([3, 4, 5], [12, 12, 12])
    assert both.bucket_sizes() == [3, 3]
    both.step()
    both.admit([6], [30])  # would give three others eighteen too many each
    assert both.bucket_sizes() == [3, 3, 1]
    both.step()


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([], [0]),
        ([100] * 50, [50]),
        ([100] * 20 + [40] * 20, [20, 20]),
        ([100] * 20 + [40], [21]),  # too little to save
        ([40] * 20 + [100] * 20, [40]),  # not the longest first
        ([200] * 20 + [100] * 20 + [20] * 20, [20, 20, 20]),
    ],
)
def test_newcomers_are_divided_where_it_saves_enough(lengths: list[int], sizes: list[int]) -> None:
    assert cache._divided(lengths, 1_000) == sizes
