"""Where the examples of each update come from, and how ranks share them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from s2s_ft.train.feed import MicroBatch, TrainingData, made_ahead
from s2s_ft.train.schedule import Schedule

MakeData = Callable[..., TrainingData]

ROWS = np.array([3, 1, 12, 7])


def schedule(total: int = 10, batch: int = 4) -> Schedule:
    return Schedule(
        total_steps=total, steps_per_epoch=-(-16 // batch), global_batch_size=batch, warmup_steps=0
    )


def indices(updates: list[list[MicroBatch]]) -> list[list[list[int]]]:
    return [[part.indices.tolist() for part in parts] for parts in updates]


def test_an_epoch_has_every_example_once(make_data: MakeData) -> None:
    for _ in range(2):
        updates = list(make_data(2).updates(schedule(4), 0))
        seen = [row for parts in indices(updates) for part in parts for row in part]
        assert sorted(seen) == list(range(16))


def test_micro_batches_are_cut_from_the_global_batch(make_data: MakeData) -> None:
    small = indices(list(make_data(2).updates(schedule(3, batch=6), 0)))
    large = indices(list(make_data(6).updates(schedule(3, batch=6), 0)))
    assert [[row for part in parts for row in part] for parts in small] == [
        parts[0] for parts in large
    ]
    assert [[len(part) for part in parts] for parts in small] == [[2, 2, 2], [2, 2, 2], [2, 2]]


@pytest.mark.parametrize("first", range(10))
def test_updates_go_on_where_they_were_left(first: int, make_data: MakeData) -> None:
    whole = list(make_data(2).updates(schedule(), 0))
    rest = list(make_data(2).updates(schedule(), first))
    assert indices(rest) == indices(whole[first:])
    for expected, parts in zip(whole[first:], rest, strict=True):
        for one, other in zip(expected, parts, strict=True):
            assert torch.equal(one.batch.ids, other.batch.ids)
            assert torch.equal(one.batch.labels, other.batch.labels)


def test_corruption_is_drawn_anew_every_epoch_and_not_by_place(make_data: MakeData) -> None:
    data = make_data()
    first, again = data.micro_batches(ROWS, 0), data.micro_batches(ROWS, 0)
    assert torch.equal(first[0].batch.ids, again[0].batch.ids)
    assert not torch.equal(first[0].batch.ids, data.micro_batches(ROWS, 1)[0].batch.ids)
    alone = data.micro_batches(ROWS[2:3], 0)[0].batch
    source = int(alone.source_lengths[0])
    assert torch.equal(first[0].batch.ids[2, :source], alone.ids[0, :source])
    assert torch.equal(first[0].batch.labels.sort().values, again[0].batch.labels.sort().values)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_ranks_share_an_update(size: int, make_data: MakeData) -> None:
    whole = make_data(2).micro_batches(np.arange(9), 0)
    ranks = [
        make_data(2, rank=rank, size=size).micro_batches(np.arange(9), 0) for rank in range(size)
    ]
    assert len({len(parts) for parts in ranks}) == 1  # all make as many passes
    real = [part for parts in ranks for part in parts if part.weight == 1.0]
    assert sorted(part.number for part in real) == [part.number for part in whole]
    for part in real:
        assert part.indices.tolist() == whole[part.number].indices.tolist()
        assert torch.equal(part.batch.ids, whole[part.number].batch.ids)


def test_a_token_budget_cuts_an_update_further(make_data: MakeData) -> None:
    rows = np.arange(16)
    plain, cut = make_data(16), make_data(16, max_tokens=60)
    assert len(plain.micro_batches(rows, 0)) == 1
    parts = cut.micro_batches(rows, 0)
    assert len(parts) > 2
    assert [row for part in parts for row in part.indices] == rows.tolist()
    assert all(part.batch.num_tokens <= 60 for part in parts)


def test_a_failure_of_the_thread_comes_where_the_update_would() -> None:
    def items() -> Iterator[list[MicroBatch]]:
        yield []
        raise ValueError("row 7 cannot be read")

    made = made_ahead(items(), 2)
    assert next(made) == []
    with pytest.raises(ValueError, match="row 7"):
        next(made)


def test_closing_early_ends_the_thread() -> None:
    seen = []

    def items() -> Iterator[list[MicroBatch]]:
        for number in range(1000):
            seen.append(number)
            yield []

    made = made_ahead(items(), 2)
    next(made)
    made.close()  # type: ignore[attr-defined]
    assert len(seen) < 10
