"""A page of files that hold something else than a run writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.train.lines import METRICS, OPTIONS, SAMPLES, SESSIONS
from tests.unit.train.report.pages import CHARTS, look_line, report_of, train_line

ODD: list[Any] = [None, "text", float("nan"), float("inf"), True, [], {}, -1, 10**400, 1e-320]


def put(path: Path, *lines: dict[str, Any]) -> None:
    """Write lines that may hold NaN, which a run itself refuses to write."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_values_of_any_kind_in_metrics(run_folder: Path, odd: Any) -> None:
    whole = [train_line(2), look_line(2, improved=True)]
    names = {name for line in whole for name in line if name not in ("kind", "step")}
    strange = [
        {"kind": line["kind"], "step": step, **dict.fromkeys(names, odd)}
        for step in (4, 6)
        for line in whole
    ]
    for lines in (strange, [*whole, *strange], [*strange, *whole]):
        put(run_folder / METRICS, *lines)
        figures = report_of(run_folder).all("figure")
        assert tuple(each.all("figcaption")[0].text for each in figures[:1]) == CHARTS[:1]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_values_of_any_kind_in_sessions_and_samples(run_folder: Path, odd: Any) -> None:
    start = dict.fromkeys(("time", "device", "ranks", "versions", "system", "command"), odd)
    put(
        run_folder / SESSIONS,
        {"kind": "start", "step": 3, **start},
        {"kind": "end", "step": 3, "time": odd, "ending": odd, "finished": odd},
    )
    texts = dict.fromkeys(("source", "reference", "generated"), odd)
    put(run_folder / SAMPLES, {"step": 4, "row": 1, **texts}, {"step": 4, "row": odd, **texts})
    assert "Held-out row 2" in report_of(run_folder).text


def test_lines_that_hold_nothing_but_their_update(run_folder: Path) -> None:
    put(run_folder / METRICS, {"step": 1}, {"kind": "look", "step": 2})
    put(run_folder / SAMPLES, {"step": 1}, {"step": 1, "row": 0})
    put(run_folder / SESSIONS, {"kind": "end", "step": 1}, {"kind": "start", "step": 3})
    assert "Starts" in report_of(run_folder).text
    put(run_folder / SESSIONS, {"kind": "start", "step": 3}, {"kind": "end", "step": 3})
    assert "ended" in report_of(run_folder).text


def test_a_look_that_does_not_count_its_rows(run_folder: Path) -> None:
    look = look_line(4, improved=True)
    del look["examples"]
    put(run_folder / METRICS, look)
    assert "decoded with beam 1; ROUGE: F1." in report_of(run_folder).text


@pytest.mark.parametrize("step", [-3, 10**400])
def test_lines_of_updates_that_there_are_none_of(run_folder: Path, step: int) -> None:
    for name in (METRICS, SAMPLES, SESSIONS):
        put(run_folder / name, {"kind": "start", "step": step, "row": 0})
    assert "No numbers yet." in report_of(run_folder).text


@pytest.mark.parametrize(
    "options", [{}, {"schedule": 3}, {"schedule": {"total_steps": "many"}, "validation": []}]
)
def test_options_of_any_kind(run_folder: Path, options: dict[str, Any]) -> None:
    (run_folder / OPTIONS).write_text(json.dumps(options), encoding="utf-8")
    assert "of 12 updates" in report_of(run_folder).text
