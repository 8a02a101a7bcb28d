"""The best look and the patience: what counts as a gain, and that a resume forgets nothing."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pytest

from s2s_ft.train.best import Tracker


@dataclass
class Found:
    """A look with one number."""

    step: int
    number: float

    def value(self, metric: str) -> float:
        assert metric in ("loss", "rouge2")
        return self.number


def improvements(tracker: Tracker, numbers: list[float]) -> list[bool]:
    first = tracker.last_step or 0
    return [tracker.note(Found(first + 10 * (n + 1), each)) for n, each in enumerate(numbers)]


def test_a_loss_is_better_the_lower_it_is() -> None:
    tracker = Tracker("loss")
    assert improvements(tracker, [3.0, 2.0, 2.5, 1.5]) == [True, True, False, True]
    assert (tracker.best_value, tracker.best_step, tracker.last_step) == (1.5, 40, 40)


def test_a_score_is_better_the_higher_it_is() -> None:
    tracker = Tracker("rouge2")
    assert improvements(tracker, [3.0, 2.0, 2.5, 3.5]) == [True, False, False, True]
    assert (tracker.best_value, tracker.best_step) == (3.5, 40)


def test_an_equal_value_is_no_gain() -> None:
    tracker = Tracker("rouge2")
    assert improvements(tracker, [3.0, 3.0]) == [True, False]
    assert tracker.best_step == 10


@pytest.mark.parametrize("metric", ["loss", "rouge2"])
def test_what_is_no_number_is_never_the_best(metric: str) -> None:
    tracker = Tracker(metric)
    assert improvements(tracker, [math.nan, math.inf, 1.0, math.nan]) == [False, False, True, False]
    assert tracker.best_value == 1.0


def test_patience_counts_looks_without_gain() -> None:
    tracker = Tracker("loss")
    improvements(tracker, [3.0, 4.0, 2.0, 2.1])
    assert tracker.looks_without_gain == 1
    assert not tracker.is_out_of_patience(2)
    improvements(tracker, [2.2])
    assert tracker.is_out_of_patience(2)
    assert not tracker.is_out_of_patience(3)


def test_no_patience_flag_never_ends_a_run() -> None:
    tracker = Tracker("loss")
    improvements(tracker, [1.0] * 50)
    assert not tracker.is_out_of_patience(0)


@pytest.mark.parametrize("cut", range(7))
def test_a_resume_at_any_look_changes_nothing(cut: int) -> None:
    numbers = [3.0, 2.0, 2.5, 1.5, 1.6, 1.7]
    whole = Tracker("loss", "these rows")
    expected = improvements(whole, numbers)
    before = Tracker("loss", "these rows")
    found = improvements(before, numbers[:cut])
    saved = json.loads(json.dumps(before.to_dict()))
    after = Tracker.resumed(saved, metric="loss", measured_on="these rows")
    found += improvements(after, numbers[cut:])
    assert found == expected
    assert after == whole


def test_a_new_run_has_nothing_to_go_on_with() -> None:
    assert Tracker.resumed(None, metric="loss", measured_on="rows") == Tracker("loss", "rows")


@pytest.mark.parametrize(("metric", "rows"), [("rouge2", "rows"), ("loss", "others")])
def test_what_does_not_compare_is_not_compared(
    metric: str, rows: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = Tracker("loss", "rows")
    improvements(before, [2.0, 3.0])
    after = Tracker.resumed(before.to_dict(), metric=metric, measured_on=rows)
    assert after == Tracker(metric, rows, last_step=20)
    assert "loss 2 at update 10" in caplog.text
