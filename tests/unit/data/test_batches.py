"""The order of the rows: complete, grouped by length, new every epoch, repeatable; its cutting."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from s2s_ft.data.batches import cut, epoch_batches, example_generator, steps_per_epoch

Lengths = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def skewed() -> Lengths:
    draws = np.random.default_rng(5).lognormal(4, 0.8, 5000)
    return np.clip(draws, 3, 512).astype(np.int64)


def padding_share(lengths: Lengths, batches: list[Lengths]) -> float:
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1 - int(lengths.sum()) / padded


class TestEpochBatches:
    @pytest.mark.parametrize("num_rows", [0, 1, 7, 8, 9, 400, 401, 5000])
    @pytest.mark.parametrize("batch_size", [1, 8, 64])
    def test_every_row_exactly_once(self, num_rows: int, batch_size: int, skewed: Lengths) -> None:
        batches = epoch_batches(skewed[:num_rows], batch_size, seed=1, epoch=0)
        assert len(batches) == steps_per_epoch(num_rows, batch_size)
        assert all(len(batch) == batch_size for batch in batches[:-1])
        rows = np.concatenate(batches) if batches else np.zeros(0, np.int64)
        assert rows.dtype == np.int64
        assert sorted(rows.tolist()) == list(range(num_rows))

    def test_the_same_again(self, skewed: Lengths) -> None:
        np.random.seed(0)  # the global state must not matter
        first = epoch_batches(skewed, 8, seed=3, epoch=2)
        np.random.seed(1)
        again = epoch_batches(skewed.copy(), 8, seed=3, epoch=2)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))

    @pytest.mark.parametrize(("seed", "epoch"), [(3, 1), (4, 0)])
    def test_another_epoch_or_seed_mixes_anew(self, seed: int, epoch: int, skewed: Lengths) -> None:
        first, other = (
            {frozenset(batch.tolist()) for batch in epoch_batches(skewed, 8, *key)}
            for key in ((3, 0), (seed, epoch))
        )
        assert len(first & other) < len(first) // 100

    @pytest.mark.parametrize("batch_size", [8, 32])
    def test_little_padding(self, batch_size: int, skewed: Lengths) -> None:
        batches = epoch_batches(skewed, batch_size, seed=0, epoch=0)
        order = np.random.default_rng(0).permutation(len(skewed))
        random = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        assert padding_share(skewed, batches) < 0.1
        assert padding_share(skewed, random) > 0.4

    def test_long_and_short_batches_come_in_no_order(self, skewed: Lengths) -> None:
        means = [skewed[batch].mean() for batch in epoch_batches(skewed, 8, seed=0, epoch=0)]
        assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.15

    def test_a_batch_is_in_order_of_length(self, skewed: Lengths) -> None:
        for batch in epoch_batches(skewed, 12, seed=0, epoch=0):
            assert np.all(np.diff(skewed[batch]) >= 0)

    def test_the_smaller_last_batch_is_a_fair_draw(self, skewed: Lengths) -> None:
        rest = [skewed[epoch_batches(skewed, 64, 0, epoch)[-1]].mean() for epoch in range(200)]
        assert np.mean(rest) == pytest.approx(skewed.mean(), rel=0.1)

    def test_equal_lengths_are_still_shuffled(self) -> None:
        batches = epoch_batches(np.full(100, 7), 10, seed=0, epoch=0)
        assert np.concatenate(batches).tolist() != list(range(100))


class TestCut:
    @pytest.mark.parametrize("max_examples", [1, 3, 8, 100])
    @pytest.mark.parametrize("max_tokens", [None, 1, 200, 900, 10**6])
    def test_every_row_once_in_order_within_both_limits(
        self, skewed: Lengths, max_examples: int, max_tokens: int | None
    ) -> None:
        for indices in epoch_batches(skewed, 32, seed=1, epoch=0)[::20]:
            parts = cut(indices, skewed[indices], max_examples, max_tokens)
            assert np.array_equal(np.concatenate(parts), indices)
            for part in parts:
                assert 1 <= len(part) <= max_examples
                fits = max_tokens is None or skewed[part].sum() <= max_tokens
                assert fits or len(part) == 1

    def test_parts_are_as_large_as_they_may_be(self, skewed: Lengths) -> None:
        indices = np.arange(64)
        parts = cut(indices, skewed[indices], 8, 600)
        for part, following in itertools.pairwise(parts):
            assert len(part) == 8 or skewed[part].sum() + skewed[following[0]] > 600

    def test_by_hand(self) -> None:
        costs = np.array([3, 3, 4, 9, 20, 1])
        rows = np.array([7, 5, 9, 2, 4, 0])
        assert [part.tolist() for part in cut(rows, costs, 2)] == [[7, 5], [9, 2], [4, 0]]
        parts = [part.tolist() for part in cut(rows, costs, 4, 10)]
        assert parts == [[7, 5, 9], [2], [4], [0]]
        assert cut(rows[:0], costs[:0], 4, 10) == []


class TestExampleGenerator:
    def test_a_function_of_the_triple(self) -> None:
        first = example_generator(42, 1, 7).random(5)
        assert np.array_equal(first, example_generator(42, 1, 7).random(5))

    def test_every_triple_has_its_own_stream(self) -> None:
        triples = [
            (s, e, i) for s in (0, 1, -1, -2, 2**60, 2**60 + 1) for e in range(5) for i in range(50)
        ]
        draws = {example_generator(*triple).integers(2**62).item() for triple in triples}
        assert len(draws) == len(triples)

    def test_the_streams_look_random_across_rows(self) -> None:
        draws = np.array([example_generator(42, 0, index).random(2) for index in range(4000)])
        assert draws.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.02)
        assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.05
        assert abs(np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]) < 0.05
