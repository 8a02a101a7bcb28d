"""Curves as drawings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from s2s_ft.train.report.charts import Chart, Curve, draw
from tests.unit.train.report.pages import Element, Tree


def chart(points: Sequence[tuple[int, float | None]], **changes: Any) -> Element:
    drawn = draw(
        Chart(title="t", unit="u", curves=[Curve("c", points)], **{"total": 10, **changes})
    )
    return Tree(drawn).open[0]


def test_a_missing_value_breaks_the_line() -> None:
    drawn = chart([(1, 1.0), (2, 2.0), (3, None), (4, math.nan), (5, 3.0), (6, 4.0)])
    assert len(drawn.all("polyline")) == 2
    assert len(chart([(1, 1.0), (2, 2.0)]).all("polyline")) == 1


def test_what_is_no_number_is_not_told_in_words() -> None:
    (drawn,) = chart([(1, math.nan), (2, 2.0), (3, math.inf)]).all("svg")
    assert drawn.attributes["aria-label"] == "t (u). c: 2 at update 2, 2 at update 2"


def test_a_single_point_is_seen() -> None:
    drawn = chart([(3, 1.0)])
    assert [each.attributes["class"] for each in drawn.all("circle")] == ["dot", "spot"]


def test_many_points_become_means_within_a_band_and_it_is_said() -> None:
    points = [(step, float(step % 2)) for step in range(1, 1001)]
    drawn = chart(points, total=1000)
    (line,) = drawn.all("polyline")
    assert len((line.attributes["points"] or "").split()) == 143
    assert len(drawn.all("polygon")) == 1
    assert "mean of 7 lines of metrics.jsonl" in drawn.text
    assert "updates 1 to 7: mean 0.5714, from 0 to 1" in drawn.text


def test_everything_lies_within_the_drawing() -> None:
    for points in ([(1, 1e-30), (10, 1e30)], [(1, -5.0), (2, -5.0)], [(1, 0.0)], [(10**6, 3.0)]):
        for changes in ({}, {"from_zero": True}, {"steep": True}):
            drawn = chart(points, total=points[-1][0], **changes)
            for dot in drawn.all("circle"):
                assert 0 <= float(dot.attributes["cx"] or -1) <= 540
                assert 0 <= float(dot.attributes["cy"] or -1) <= 250


def test_spikes_get_a_logarithmic_axis_that_says_so() -> None:
    spiky = [(step, 1.0 if step != 5 else 900.0) for step in range(1, 10)]
    assert "u, logarithmic" in chart(spiky, steep=True).text
    assert "logarithmic" not in chart(spiky).text
    assert "logarithmic" not in chart([(1, 1.0), (2, 2.0)], steep=True).text
