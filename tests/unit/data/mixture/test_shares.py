"""Shares are as the formula says, and no row is wronged."""

import math
import random
from collections import Counter

import numpy as np
import pytest

from s2s_ft.data.mixture.shares import allot, draw

LANGUAGES = [
    [24_062, 16_052, 4_798, 1_286, 9_187, 17_349, 3_133, 2_234, 1_750, 1_602, 1_730],
    [3_803_957, 1, 1],
    [7],
    [1, 2, 3, 4, 5],
]


@pytest.mark.parametrize("counts", LANGUAGES, ids=len)
@pytest.mark.parametrize("temperature", [0.3, 1, 1.5, 5, 100, math.inf])
@pytest.mark.parametrize("num_rows", [None, 1, 1_000])
def test_shares_are_exact_to_less_than_one_row(
    counts: list[int], temperature: float, num_rows: int | None
) -> None:
    wanted = num_rows or sum(counts)
    drawn = allot(counts, temperature, wanted)
    weights = [(count / sum(counts)) ** (1 / temperature) for count in counts]
    assert sum(drawn) == wanted
    for number, weight in zip(drawn, weights, strict=True):
        assert abs(number - wanted * weight / sum(weights)) < 1


def test_temperature_one_changes_no_count() -> None:
    source = random.Random(0)
    for _ in range(300):
        counts = [source.randint(1, 10 ** source.randint(1, 7)) for _ in range(11)]
        assert allot(counts, 1, sum(counts)) == counts


@pytest.mark.parametrize("counts", [LANGUAGES[0], LANGUAGES[3]], ids=len)
def test_higher_temperatures_favour_rare_languages(counts: list[int]) -> None:
    rarest = counts.index(min(counts))
    drawn = [allot(counts, t, 10_000)[rarest] for t in (0.5, 1, 2, 5, math.inf)]
    assert drawn == sorted(set(drawn))
    assert max(allot(counts, math.inf, 10_000)) - min(allot(counts, math.inf, 10_000)) <= 1


def test_no_power_is_too_small_or_large() -> None:
    assert allot([10, 9, 1], 1e-320, 20) == [20, 0, 0]
    assert sum(allot([10**7, 1], 1e-3, 5)) == 5


def test_rows_of_a_language_come_equally_often_or_once_more() -> None:
    counts, drawn = [5, 40, 8], [23, 11, 8]
    order = draw(counts, drawn, seed=3)
    times = Counter(order.tolist())
    assert len(order) == sum(drawn)
    for first, count, wanted in zip((0, 5, 45), counts, drawn, strict=True):
        found = [times[row] for row in range(first, first + count)]
        assert sum(found) == wanted
        assert max(found) - min(found) <= 1


def test_the_seed_decides_what_is_drawn_and_the_order() -> None:
    counts, drawn = [50, 50], [20, 70]
    first, again, other = (draw(counts, drawn, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert set(first.tolist()) != set(other.tolist())
    assert not np.array_equal(first, np.sort(first))
    # Languages are mixed and not behind each other.
    assert 5 < (first[:30] < 50).sum() + (first[-30:] < 50).sum() < 25
