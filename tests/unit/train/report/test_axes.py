"""Ticks, and numbers for people."""

from __future__ import annotations

import json

import pytest

from s2s_ft.train.lines import line_of
from s2s_ft.train.report.axes import decades, duration, memory, tick_label, ticks, written
from s2s_ft.train.report.page import escape


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.3, 9.2, [0, 2, 4, 6, 8, 10]),
        (0, 5e-5, [0, 1e-5, 2e-5, 3e-5, 4e-5, 5e-5]),
        (41.2, 43.9, [41, 42, 43, 44]),
        (-3, 3, [-4, -2, 0, 2, 4]),
        (0, 12.5, [0, 2.5, 5, 7.5, 10, 12.5]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, 1e-9, -4.0, 3e12])
def test_ticks_around_a_single_value(value: float) -> None:
    found = ticks(value, value)
    assert len(found) >= 2
    assert found[0] <= value <= found[-1]


@pytest.mark.parametrize(
    ("low", "high"),
    [(13.293043203815106, 13.293043203815108), (-0.3, -0.29999999999999993), (0.0, 5e-324)],
)
def test_ticks_around_two_values_that_are_hardly_two(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 8
    assert found[0] <= low < high <= found[-1]


def test_updates_are_whole() -> None:
    assert ticks(0, 3, whole=True) == [0, 1, 2, 3]
    assert ticks(0, 1, whole=True) == [0, 1]


def test_decades() -> None:
    assert decades(0.3, 92.0) == [0.1, 1, 10, 100]
    assert decades(1.0, 1.0) == [1, 10]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.25, "0.25"), (12345.6, "12,346"), (5e-5, "5e-5"), (1.23456e-7, "1.235e-7")],
)
def test_numbers_for_people(value: float, expected: str) -> None:
    assert written(value) == expected


@pytest.mark.parametrize(
    ("value", "step", "expected"),
    [
        (0.0, 0.5, "0"),
        (2.5, 0.5, "2.5"),
        (2.0, 0.5, "2.0"),
        (7.5, 2.5, "7.5"),
        (0.25, 0.25, "0.25"),
        (4000, 2000, "4,000"),
        (120000, 20000, "120k"),
        (2e-5, 1e-5, "2e-5"),
    ],
)
def test_labels_of_ticks(value: float, step: float, expected: str) -> None:
    assert tick_label(value, step) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1.5, "1.5 s"), (61, "1 min 01 s"), (7500, "2 h 05 min"), (200000, "2 d 07 h")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_amounts_of_memory() -> None:
    for size, expected in (
        (512, "512 bytes"),
        (1 << 20, "1 MiB"),
        (999 << 20, "999 MiB"),
        (1014 << 20, "0.99 GiB"),
        (3 << 29, "1.5 GiB"),
        (40 << 30, "40 GiB"),
    ):
        assert memory(size) == expected


def test_escape_leaves_nothing_that_a_page_would_act_on() -> None:
    assert escape("<a href=\"x\" id='y'>&") == "&lt;a href=&quot;x&quot; id=&#x27;y&#x27;&gt;&amp;"
    assert escape("\ud800\x08") == "\N{REPLACEMENT CHARACTER}" * 2
    assert json.loads(line_of({"a": "ü"})) == {"a": "ü"}
