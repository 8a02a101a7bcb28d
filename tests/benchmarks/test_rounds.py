"""Contestants that run, and ones that die."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.rounds import ContestantDied, Round, measure, ratio


def steady() -> Round:
    return lambda: {"examples": 3, "process": os.getpid()}


def dies_while_preparing() -> Round:
    os._exit(7)


def fails_while_preparing() -> Round:
    raise ValueError("no such model")


def dies_in_a_round() -> Round:
    def run() -> dict[str, Any]:
        os._exit(9)

    return run


def test_each_has_a_process_of_its_own() -> None:
    one, other = measure({"one": steady, "other": steady}, rounds=2)
    assert (one.name, other.name) == ("one", "other")
    assert len(one.rates) == len(other.rates) == 2
    assert len({one.figures["process"], other.figures["process"], os.getpid()}) == 3
    assert ratio(one, one) == 1.0


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (dies_while_preparing, "bad has ended with exit code 7 while preparing"),
        (fails_while_preparing, "bad has ended with exit code 1 while preparing"),
        (dies_in_a_round, "bad has ended with exit code 9 while running a round"),
    ],
)
def test_one_that_dies_is_named_with_its_exit_code(prepare: Callable[[], Round], told: str) -> None:
    with pytest.raises(ContestantDied, match=told):
        measure({"bad": prepare}, rounds=2)
