"""Bootstrap intervals: seeded, around the score, as wide as the theory says."""

import numpy as np
import pytest

from s2s_ft.evaluation.bootstrap import Estimate, percentile_interval, resampled_totals
from s2s_ft.evaluation.measures import Measure, means


def estimate_of(values: np.ndarray, *, num_bootstrap: int, seed: int) -> Estimate:
    measure = Measure("score", "Score", "", values, means)
    return measure.score(num_bootstrap=num_bootstrap, seed=seed).estimate


def test_interval_of_a_mean_is_as_wide_as_its_standard_error() -> None:
    values = np.random.default_rng(0).random((400, 1))
    estimate = estimate_of(values, num_bootstrap=4000, seed=42)
    error = 100 * values.std() / np.sqrt(400)
    assert estimate.value == pytest.approx(100 * values.mean())
    assert estimate.low == pytest.approx(estimate.value - 1.96 * error, abs=0.1 * error)
    assert estimate.high == pytest.approx(estimate.value + 1.96 * error, abs=0.1 * error)


def test_the_seed_fixes_the_draw() -> None:
    values = np.arange(20.0)[:, None]
    first, again, other = (
        resampled_totals(values, num_bootstrap=5, seed=seed) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_each_resample_has_as_many_examples_as_the_test_set() -> None:
    statistics = np.stack([np.ones(30), np.arange(30.0), np.arange(30.0)], axis=1)
    totals = resampled_totals(statistics, num_bootstrap=50, seed=3)
    assert totals.shape == (50, 3)
    assert (totals[:, 0] == 30).all()
    # The same examples are drawn for every statistic.
    assert (totals[:, 1] == totals[:, 2]).all()


def test_equal_examples_leave_no_doubt() -> None:
    estimate = estimate_of(np.full((9, 1), 0.25), num_bootstrap=10, seed=0)
    assert (estimate.value, estimate.low, estimate.high) == (25, 25, 25)


def test_percentiles() -> None:
    assert percentile_interval(np.arange(1001.0)) == (25, 975)
