"""The page of a run: every number, text and ending, whatever the run has left."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.train.lines import METRICS, OPTIONS, REPORT, SAMPLES, SESSIONS, line_of
from s2s_ft.train.report import sections
from s2s_ft.train.report.story import Story
from s2s_ft.train.report.write import main, write_report
from tests.unit.train.report.pages import (
    CHARTS,
    NASTY,
    Element,
    Tree,
    look_line,
    report_of,
    train_line,
    write_lines,
)


def test_the_page_holds_every_curve(run_folder: Path) -> None:
    figures = report_of(run_folder).all("figure")
    assert tuple(each.all("figcaption")[0].text for each in figures) == CHARTS
    for figure in figures:
        names = len(figure.all("polyline"))
        assert names == (5 if "scores" in figure.all("figcaption")[0].text else 1)
        (svg,) = figure.all("svg")
        assert svg.attributes["role"] == "img"
        assert "update" in (svg.attributes["aria-label"] or "")
    titles = [title.text for title in figures[0].all("title")]
    assert "training loss, update 2: 2.5" in titles
    assert "went on after update 4" in titles
    assert "ROUGE-2, best look, update 8: 28" in [each.text for each in figures[2].all("title")]


def test_the_page_tells_how_far_the_run_came(run_folder: Path) -> None:
    page = report_of(run_folder)
    text = page.text
    assert page.all("h1")[0].text == "my <run>"
    assert "stopped by SIGTERM" in text
    (progress,) = page.all("progress")
    assert (progress.attributes["value"], progress.attributes["max"]) == ("12", "20")
    tiles = {each.all("dt")[0].text: each.all("dd")[0].text for each in page.all("dl")[0].children}
    assert tiles["updates"].startswith("12")
    assert tiles["best held-out ROUGE-2"] == "28.00after update 8"
    assert tiles["examples per second"].startswith("40")
    assert tiles["peak memory"].startswith("3 GiB")
    assert tiles["time in updates"].startswith("12 s")


def rows(page: Element) -> list[list[str]]:
    return [[cell.text for cell in row.children] for row in page.all("tr")]


def test_updates_that_were_taken_back_do_not_count(run_folder: Path) -> None:
    """An earlier start failed at update 19; the newest goes on from a checkpoint before that."""
    sessions = (run_folder / SESSIONS).read_text(encoding="utf-8").splitlines()
    sessions.insert(1, json.dumps({"kind": "end", "step": 19, "ending": "a full disk"}))
    (run_folder / SESSIONS).write_text("\n".join(sessions) + "\n", encoding="utf-8")
    assert Story.read(run_folder).step == 12


def test_tables_of_looks_options_and_environment(run_folder: Path) -> None:
    page = report_of(run_folder)
    found = rows(page)
    assert ["8", "2", "3.9200", "48.00", "28.00", "46.00", "17.00", "43.00", "5 s", "yes"] in found
    assert ["--label_smoothing", "0.1"] in found
    assert ["total_steps", "20"] in found
    assert ["torch", "9.9"] in found
    assert ["3 looks at held-out rows", "15 s"] in found
    marked = [row.children[0].text for row in page.all("tr") if row.attributes.get("class")]
    assert {"--eval_metric", "--learning_rate"} < set(marked)
    assert "--label_smoothing" not in marked
    assert "--lmdb_cache" not in page.text
    starts = [row for row in found if row[0] == "2026-01-01T00:00:00Z"]
    assert starts[0][3] == "still going on, or killed"


def test_texts_are_shown_as_they_are_and_run_nothing(run_folder: Path) -> None:
    page = report_of(run_folder)
    shown = NASTY.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    assert f"{shown} 12" in [cell.text for cell in page.all("td")]
    assert shown in [each.text for each in page.all("dd")]
    assert ["--train_file", shown] in rows(page)
    assert not page.all("script")


def test_the_page_needs_nothing_else(run_folder: Path) -> None:
    page = report_of(run_folder)
    content = (run_folder / REPORT).read_text(encoding="utf-8")
    assert not {
        each for tag in ("link", "img", "iframe", "object", "a", "use") for each in page.all(tag)
    }
    assert not re.search(r"url\(|@import|@font-face|https?:", content)
    assert "default-src 'none'" in content
    assert "prefers-color-scheme: dark" in content
    assert content.count("<style>") == 1
    assert [path.name for path in run_folder.glob("*.tmp")] == []


def test_a_run_that_was_killed_before_it_told_anything(run_folder: Path) -> None:
    for name in (METRICS, SAMPLES, SESSIONS):
        (run_folder / name).unlink()
    page = report_of(run_folder)
    assert "it is still going on, or it was killed" in page.text
    assert page.text.count("No numbers yet.") == 4
    assert "Held-out" not in page.text


def test_torn_lines_and_lines_of_older_versions(run_folder: Path) -> None:
    old = {name: value for name, value in train_line(2).items() if name != "kind"}
    (run_folder / METRICS).write_text(line_of(old) + '{"step": 4, "lo', encoding="utf-8")
    figures = report_of(run_folder).all("figure")
    assert "training loss, update 2: 2.5" in [title.text for title in figures[0].all("title")]


def test_samples_of_many_looks_are_picked_with_the_best_among_them(run_folder: Path) -> None:
    steps = range(1, 101)
    samples = [
        {"step": step, "row": 7, "source": "s", "reference": "r", "generated": f"text {step}"}
        for step in steps
    ]
    write_lines(run_folder / SAMPLES, samples)
    write_lines(run_folder / METRICS, [look_line(step, improved=step == 38) for step in steps])
    page = report_of(run_folder)
    (card,) = [each for each in page.all("div") if each.all("h3")[:1] and "row 8" in each.text[:40]]
    folded = card.all("details")[0]
    shown = [cell.text for cell in card.all("td")]
    unfolded = shown[: len(shown) - len(folded.all("td"))]
    assert {"text 1", "text 38", "text 100"} < set(unfolded)
    assert len(unfolded) <= 9
    assert len(folded.all("td")) == 100


class Passes(list[dict[str, Any]]):
    """Lines that count how often somebody goes through them."""

    count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.count += 1
        return super().__iter__()


@pytest.mark.parametrize("num_looks", [1, 50])
def test_a_look_more_is_no_pass_over_all_lines_more(num_looks: int) -> None:
    """Of which a long run has hundreds of thousands."""
    lines = Passes(look_line(step, improved=step == 1) for step in range(1, 1 + num_looks))
    story = Story("long", {}, lines)
    assert len(Tree("".join(sections.looks(story))).open[0].all("tr")) == 1 + num_looks
    assert lines.count == 1


def test_the_command_makes_it_anew(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run_folder)]) == 0
    assert capsys.readouterr().out == f"{run_folder / REPORT}\n"


def test_the_command_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "s2s_ft.train.report", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.strip() == (
        f"error: {tmp_path} holds no run: {OPTIONS} is not there; give a run's --output_dir"
    )


@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_options(run_folder: Path, content: str) -> None:
    (run_folder / OPTIONS).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"train_options\.json is damaged"):
        write_report(run_folder)
