"""report.html: one file, whole, honest about what there is, and safe whatever a text holds."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.options import TrainOptions, as_dict, build
from s2s_ft.train.lines import METRICS, OPTIONS, REPORT, SAMPLES, SESSIONS, line_of, write_json
from s2s_ft.train.report.axes import decades, duration, memory, tick_label, ticks, written
from s2s_ft.train.report.charts import Chart, Curve, draw
from s2s_ft.train.report.page import escape
from s2s_ft.train.report.write import main, write_report

VOID = {"meta", "br", "hr", "img", "input", "link", "line", "circle", "polyline", "polygon"}
NASTY = "<script>alert('x')</script> & \"quoted\" \x00 </td>"
CHARTS = (
    "Training loss",
    "Held-out loss",
    "Held-out scores",
    "Learning rate",
    "Gradient norm",
    "Throughput",
)


@dataclass
class Element:
    """A tag with what stands in it."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts) + " ".join(child.text for child in self.children)

    def all(self, tag: str) -> list[Element]:
        """Every element of a kind below this one."""
        below = [each for child in self.children for each in child.all(tag)]
        return [child for child in self.children if child.tag == tag] + below


class Tree(HTMLParser):
    """Parses a page strictly: every tag is closed, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open = [Element("page", {})]
        self.feed(page)
        self.close()
        assert len(self.open) == 1, f"{self.open[-1].tag} is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID or (tag in ("line", "circle") and not self.closed_at_once()):
            self.open.append(element)

    def closed_at_once(self) -> bool:
        return (self.get_starttag_text() or "").endswith("/>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].texts.append(data)


def write_lines(path: Path, content: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(map(line_of, content)), encoding="utf-8")


def train_line(step: int, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "train",
        "step": step,
        "epoch": step / 4,
        "loss": 5.0 / step,
        "learning_rate": 1e-4,
        "grad_norm": 2.0,
        "target_tokens_per_second": 500.0,
        "examples_per_second": 40.0,
        "seconds": 2.0,
        "peak_memory_bytes": 3 << 30,
        **changes,
    }


def look_line(step: int, *, improved: bool) -> dict[str, Any]:
    scores = {"rouge1": 40.0, "rouge2": 20.0, "rougeL": 38.0, "bleu": 9.0, "chrf": 35.0}
    return {
        "kind": "look",
        "step": step,
        "epoch": step / 4,
        "dev_loss": 4.0 - step / 100,
        **{f"dev_{name}": value + step for name, value in scores.items()},
        "examples": 1600,
        "seconds": 5.0,
        "improved": improved,
    }


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """The files of a run of 20 updates that was killed after 4, went on, and was stopped at 12."""
    folder = tmp_path / "my <run>"
    folder.mkdir()
    flags = {"train_file": NASTY, "model_name_or_path": "bert", "output_dir": str(folder)}
    flags |= {"dev_file": "dev.jsonl", "eval_metric": "rouge2", "learning_rate": 1e-4}
    options = as_dict(build(TrainOptions, flags))
    write_json(folder / OPTIONS, {**options, "schedule": {"total_steps": 20, "warmup_steps": 0}})
    looks = [
        look_line(4, improved=True),
        look_line(8, improved=True),
        look_line(12, improved=False),
    ]
    write_lines(folder / METRICS, [*(train_line(step) for step in range(2, 13, 2)), *looks])
    samples = [
        {
            "step": step,
            "row": 7,
            "source": NASTY,
            "reference": "ref",
            "generated": f"{NASTY} {step}",
        }
        for step in (4, 8, 12)
    ]
    write_lines(folder / SAMPLES, samples)
    machine = {"device": "GPU <X>", "ranks": 2, "threads": 4, "system": "Linux"}
    machine |= {"command": f"run_seq2seq.py {NASTY}", "versions": {"torch": "9.9"}}
    sessions = [
        {"kind": "start", "step": 0, "time": "2026-01-01T00:00:00Z", **machine},
        {"kind": "start", "step": 4, "time": "2026-01-01T01:00:00Z", **machine},
        {"kind": "end", "step": 12, "time": "2026-01-01T02:00:00Z", "ending": "stopped by SIGTERM"},
    ]
    write_lines(folder / SESSIONS, sessions)
    return folder


def report_of(folder: Path) -> Element:
    assert write_report(folder) == folder / REPORT
    return Tree((folder / REPORT).read_text(encoding="utf-8")).open[0]


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


def test_damaged_options(run_folder: Path) -> None:
    (run_folder / OPTIONS).write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"train_options\.json is damaged"):
        write_report(run_folder)


def chart(points: Sequence[tuple[int, float | None]], **changes: Any) -> Element:
    drawn = draw(
        Chart(title="t", unit="u", curves=[Curve("c", points)], **{"total": 10, **changes})
    )
    return Tree(drawn).open[0]


def test_a_missing_value_breaks_the_line() -> None:
    drawn = chart([(1, 1.0), (2, 2.0), (3, None), (4, math.nan), (5, 3.0), (6, 4.0)])
    assert len(drawn.all("polyline")) == 2
    assert len(chart([(1, 1.0), (2, 2.0)]).all("polyline")) == 1


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
    assert [memory(size) for size in (512, 1 << 20, 3 << 29)] == ["512 bytes", "1 MiB", "1.5 GiB"]


def test_escape_leaves_nothing_that_a_page_would_act_on() -> None:
    assert escape("<a href=\"x\" id='y'>&") == "&lt;a href=&quot;x&quot; id=&#x27;y&#x27;&gt;&amp;"
    assert escape("\ud800\x08") == "\N{REPLACEMENT CHARACTER}" * 2
    assert json.loads(line_of({"a": "ü"})) == {"a": "ü"}
