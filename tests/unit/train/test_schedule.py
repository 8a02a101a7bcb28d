"""The plan of a run: lengths, places in the data, learning rates."""

from __future__ import annotations

import pytest

from s2s_ft.options.optimization import OptimizationOptions
from s2s_ft.train.schedule import Schedule, global_batch_size, plan_schedule


def plan(**changes: int) -> Schedule:
    settings = {
        "global_batch_size": 4,
        "num_training_steps": -1,
        "num_training_epochs": 3,
        "warmup_steps": 0,
    }
    return plan_schedule(10, **{**settings, **changes})


def test_epochs_count_where_no_updates_are_given() -> None:
    assert plan().total_steps == 9
    assert plan().steps_per_epoch == 3


def test_updates_win_over_epochs() -> None:
    assert plan(num_training_steps=7).total_steps == 7


def test_last_batch_may_be_smaller() -> None:
    assert plan(global_batch_size=5).steps_per_epoch == 2
    assert plan(global_batch_size=100).steps_per_epoch == 1


@pytest.mark.parametrize(("step", "place"), [(0, (0, 0)), (2, (0, 2)), (3, (1, 0)), (8, (2, 2))])
def test_place_of_an_update(step: int, place: tuple[int, int]) -> None:
    assert plan().locate(step) == place


def test_learning_rate_rises_then_falls_to_zero() -> None:
    schedule = plan(num_training_steps=10, warmup_steps=4)
    rates = [schedule.learning_rate(step, 8.0) for step in range(11)]
    assert rates == pytest.approx([0, 2, 4, 6, 8, 8 * 5 / 6, 8 * 4 / 6, 4, 8 / 3, 8 / 6, 0])


def test_without_warm_up_the_first_rate_is_the_peak() -> None:
    assert plan().learning_rate(0, 8.0) == 8.0


def test_warm_up_as_long_as_the_run() -> None:
    schedule = plan(num_training_steps=4, warmup_steps=4)
    assert schedule.learning_rate(3, 4.0) == 3.0
    assert schedule.learning_rate(4, 4.0) == 0.0


def test_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match="--num_warmup_steps 10 is more than the 9 updates"):
        plan(warmup_steps=10)


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="--num_training_epochs 0"):
        plan(num_training_epochs=0)


@pytest.mark.parametrize(("ranks", "size"), [(1, 6), (2, 12), (8, 48)])
def test_an_update_grows_with_the_ranks(ranks: int, size: int) -> None:
    options = OptimizationOptions(per_gpu_train_batch_size=3, gradient_accumulation_steps=2)
    assert global_batch_size(options, ranks) == size


@pytest.mark.parametrize("ranks", [1, 2, 8])
def test_an_update_of_a_given_size_does_not(ranks: int) -> None:
    assert global_batch_size(OptimizationOptions(global_batch_size=10), ranks) == 10
