"""The benchmark of methods × seeds: its statistics, its tables, and how it collects runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import seeds
from benchmarks.seed_budgets import BUDGETS, CONVERGED, SHORT
from benchmarks.seed_runs import KEYS, METHODS, PEER, Run, collect, examples_seen
from benchmarks.seed_scores import Draw, Scores, difference, mean_and_interval
from benchmarks.seed_tables import examples, plain, replaced, shortened
from s2s_ft.cli import parse
from s2s_ft.evaluation.bootstrap import percentile_interval
from s2s_ft.evaluation.measures import Measure, means
from s2s_ft.evaluation.options import ScoringOptions
from s2s_ft.evaluation.run import evaluate
from s2s_ft.evaluation.significance import compare
from s2s_ft.options import DecodeOptions, TrainOptions

DRAW = Draw(400, 7)
ROWS = [
    {"id": "a", "src": "the tool for files", "tgt": "tool for files"},
    {"id": "b", "src": "a *game* | of code", "tgt": "game of code"},
    {"id": "c", "src": "a library of the network", "tgt": "network library"},
]


def scores(num_seeds: int, num_examples: int, level: float = 0.4) -> Scores:
    return np.random.default_rng(3).uniform(0, 2 * level, (num_seeds, num_examples))


def width(found: dict[str, float]) -> float:
    return found["high"] - found["low"]


def test_one_seed_has_the_interval_of_its_examples() -> None:
    one = scores(1, 60)
    measure = Measure("x", "x", "", one.T, means)
    samples = measure.samples(num_bootstrap=DRAW.num_bootstrap, seed=DRAW.seed)[:, 0]
    found = mean_and_interval(one, DRAW)
    assert found["value"] == pytest.approx(one.mean() * 100)
    assert (found["low"], found["high"]) == pytest.approx(percentile_interval(samples))


def test_equal_seeds_say_no_more_than_one() -> None:
    """They share the test set: three of them are not three test sets."""
    one = scores(1, 60)
    three = np.repeat(one, 3, axis=0)
    assert mean_and_interval(three, DRAW) == pytest.approx(mean_and_interval(one, DRAW))


def test_seeds_that_differ_widen_the_interval() -> None:
    one = np.repeat(scores(1, 60), 3, axis=0)
    apart = one + np.array([[-0.2], [0.0], [0.2]])
    assert width(mean_and_interval(apart, DRAW)) > width(mean_and_interval(one, DRAW)) + 10


def test_of_constant_examples_the_seeds_alone_are_drawn() -> None:
    constant = np.repeat(np.array([[0.1], [0.4]]), 20, axis=1)
    assert set(np.unique(DRAW.samples(constant).round(6))) == {10.0, 25.0, 40.0}


def test_a_difference_is_the_paired_bootstrap_of_the_means() -> None:
    one, other = scores(3, 50), scores(2, 50, 0.3)
    found = difference("rouge1", one, other, DRAW)
    measures = [
        [Measure("rouge1", "", "", each.mean(axis=0)[:, None], means)] for each in (one, other)
    ]
    (expected,) = compare(*measures, num_bootstrap=DRAW.num_bootstrap, seed=DRAW.seed)
    assert {key: found[key] for key in asdict(expected) if key != "title"} == {
        key: value for key, value in asdict(expected).items() if key != "title"
    }
    turned = difference("rouge1", other, one, DRAW)
    assert turned["difference"] == pytest.approx(-found["difference"])
    assert turned["p_value"] == pytest.approx(found["p_value"])


def test_equal_methods_do_not_differ() -> None:
    found = difference("rouge1", scores(3, 50), scores(3, 50), DRAW)
    assert found["difference"] == 0
    assert found["p_value"] == 1
    assert found["low_with_seeds"] < 0 < found["high_with_seeds"]


def test_other_test_sets_are_not_compared() -> None:
    with pytest.raises(ValueError, match="50 examples cannot be compared with 40"):
        difference("rouge1", scores(1, 50), scores(1, 40), DRAW)


def test_the_part_between_marks_is_replaced() -> None:
    text = "# Head\n<!-- x -->\nold\n<!-- /x -->\ntail\n"
    once = replaced(text, "x", "new\n\nlines\n")
    assert once == "# Head\n<!-- x -->\n\nnew\n\nlines\n\n<!-- /x -->\ntail\n"
    assert replaced(once, "x", "new\n\nlines") == once


@pytest.mark.parametrize(
    "text", ["", "<!-- x -->", "<!-- /x --> <!-- x -->", "<!-- x --><!-- x --><!-- /x -->"]
)
def test_marks_that_are_not_a_pair_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no one part"):
        replaced(text, "x", "new")


def test_texts_are_shown_as_they_are() -> None:
    assert plain("a_b | <c>\n*d*") == r"a\_b \| \<c\> \*d\*"
    assert shortened("one two  three", 9) == "one two …"
    assert shortened("one two", 7) == "one two"


def run_of(method: str, texts: list[str]) -> Run:
    return Run(method, 1, texts, {key: np.zeros(len(texts)) for key in KEYS}, {}, None)


def test_examples_are_spread_over_the_test_set() -> None:
    rows = [{"id": f"row{n}", "src": f"source {n}", "tgt": f"target {n}"} for n in range(10)]
    runs = [run_of(method, [f"{method} {n}" for n in range(10)]) for method in METHODS]
    page = examples(runs, rows, count=2)
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## 2: row2",
        "## 7: row7",
    ]
    assert "target 7" in page
    assert "| `causal` | causal 7 |" in page


def arguments(tmp_path: Path, *more: str) -> list[str]:
    files = [tmp_path / "train.jsonl", tmp_path / "test.jsonl"]
    for file, rows in zip(files, (ROWS[:2], ROWS), strict=True):
        write_lines(file, rows)
    return [*map(str, files), str(tmp_path / "out"), "--model", "encoder", *more]


@pytest.mark.parametrize("budget", list(BUDGETS))
def test_runs_differ_in_method_and_seed_alone(tmp_path: Path, budget: str) -> None:
    more = ("--budget", budget, "--dev", str(tmp_path / "dev.jsonl"))
    given = seeds.parser().parse_args(arguments(tmp_path, *more))
    flags = [seeds.train_flags(*each, given) for each in (("causal", 1), ("masked", 2))]
    one, other = (parse(TrainOptions, each, "train", "") for each in flags)
    assert (one.model.method, other.model.method) == ("causal", "masked")
    assert (one.runtime.seed, other.runtime.seed) == (1, 2)
    assert one.optimization == other.optimization
    assert one.data == other.data
    decoding = parse(DecodeOptions, seeds.decode_flags("causal", 1, given), "decode", "")
    assert f"causal-1/model/{BUDGETS[budget].checkpoint}" in str(asdict(decoding))
    dev = one.validation.dev_file
    assert dev == (str(tmp_path / "dev.jsonl") if BUDGETS[budget].looks else None)


def test_weights_are_chosen_by_development_rows_that_are_given(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="give --dev"):
        seeds.main(arguments(tmp_path, "--budget", "converged"))


def test_each_budget_has_a_report_and_a_place_of_its_own(tmp_path: Path) -> None:
    targets = [row["tgt"] for row in ROWS]
    write_run(tmp_path / "out" / "causal-1", targets, steps=CONVERGED.steps)
    page = tmp_path / "RESULTS.md"
    marks = [f"<!-- {mark} -->" for mark in ("debsum", "/debsum", CONVERGED.mark)]
    page.write_text("\n".join([*marks, f"<!-- /{CONVERGED.mark} -->", ""]), encoding="utf-8")
    more = ("--only", "--seeds", "1", "--num_bootstrap", "50", "--results", str(tmp_path))
    given = arguments(tmp_path, *more, "--budget", "converged", "--markdown", str(page))
    seeds.main(given)
    report = json.loads((tmp_path / f"{CONVERGED.report}.json").read_text(encoding="utf-8"))
    assert "three epochs" in report["budget"]
    assert "--budget converged --dev dev.jsonl" in report["command"]
    before, after = page.read_text(encoding="utf-8").split(f"<!-- {CONVERGED.mark} -->")
    assert "causal" not in before
    assert "| `causal` |" in after


def write_run(folder: Path, texts: list[str], *, steps: int = SHORT.steps) -> None:
    """A run as training and decoding leave it, of two lines of metrics."""
    (folder / "model").mkdir(parents=True)
    lines: list[dict[str, Any]] = [
        {"kind": "train", "step": steps // 4, "seconds": 5.0, "peak_memory_bytes": 3 << 20},
        {"kind": "look", "step": steps // 4, "seconds": 99.0},
        {"kind": "train", "step": steps, "seconds": 30.0, "peak_memory_bytes": 2 << 20},
    ]
    write_lines(folder / "model" / "metrics.jsonl", lines)
    rows = [{"index": n, "hypotheses": [{"text": text}]} for n, text in enumerate(texts)]
    write_lines(folder / "test.jsonl", rows)


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


Collect = Callable[[], list[Run]]


@pytest.fixture
def collected(tmp_path: Path) -> Collect:
    references = [row["tgt"] for row in ROWS]
    budget: dict[str, Any] = {"steps": SHORT.steps, "batch": 8, "rows": 2004}
    return lambda: list(collect(tmp_path / "out", [1, 2], references, **budget, commit="c0ffee"))


def test_runs_that_are_there_are_collected(tmp_path: Path, collected: Collect) -> None:
    texts = ["tool for game", "", "library"]
    write_run(tmp_path / "out" / "masked-2", texts)
    write_run(tmp_path / "out" / "masked-1", [row["tgt"] for row in ROWS])
    (tmp_path / "out" / "masked-1" / "commit").write_text("abc\n", encoding="utf-8")
    (tmp_path / "out" / "causal-1" / "model").mkdir(parents=True)  # still in training
    first, second = collected()
    assert [first.row()[key] for key in ("method", "seed", *KEYS)] == ["masked", 1, 100, 100, 100]
    assert (first.commit, second.commit) == ("abc", "c0ffee")
    assert second.row()["seconds"] == 35
    assert second.row()["undisturbed s"] == 20  # a quarter of the updates took 5
    assert (second.row()["examples"], second.row()["peak MiB"]) == (2 * 2004 + 250 * 8, 3)
    report = evaluate(texts, [row["tgt"] for row in ROWS], ScoringOptions(num_bootstrap=1))
    for key in KEYS:
        assert second.row()[key] == pytest.approx(report.value(key), abs=1e-3)


def test_the_last_update_of_an_epoch_has_what_is_left() -> None:
    assert examples_seen(CONVERGED.steps, CONVERGED.batch, 24_062) == 72_186
    assert examples_seen(SHORT.steps, SHORT.batch, 24_062) == 6_016
    assert examples_seen(7, 4, 10) == 10 + 10 + 4


def test_what_is_not_whole_is_refused(tmp_path: Path, collected: Collect) -> None:
    write_run(tmp_path / "out" / "causal-1", ["tool"])
    with pytest.raises(SystemExit, match="1 rows for 3 references"):
        collected()
    (tmp_path / "out" / "causal-1" / "test.jsonl").unlink()
    write_run(tmp_path / "out" / "causal-2", ["a", "b", "c"], steps=8)
    with pytest.raises(SystemExit, match="752 updates"):
        collected()


def test_the_report_of_what_is_there(tmp_path: Path) -> None:
    targets = [row["tgt"] for row in ROWS]
    write_run(tmp_path / "out" / "causal-1", targets)
    write_run(tmp_path / "out" / "causal-2", ["tool", "game of code", "network"])
    write_run(tmp_path / "out" / "pseudo_mask-1", targets)
    peer = tmp_path / "out" / f"{PEER}-1"
    write_run(peer, ["", "a", "library"])
    details: dict[str, Any] = {
        "seconds": 20.0,
        "examples": 80,
        "peak_memory_bytes": 1 << 20,
        "cpu_seconds": 20,
    }
    details |= {"learning_rate": 1e-4, "num_warmup_steps": 5, "fresh_head": "identity"}
    (peer / "run.json").write_text(json.dumps(details), encoding="utf-8")
    page, outputs = tmp_path / "RESULTS.md", tmp_path / "examples.md"
    page.write_text("head\n<!-- debsum -->\n<!-- /debsum -->\ntail\n", encoding="utf-8")
    more = ("--only", "--seeds", "1", "2", "--num_bootstrap", "50", "--results", str(tmp_path))
    given = arguments(tmp_path, *more, "--markdown", str(page), "--examples", str(outputs))
    seeds.main(given)
    report = json.loads((tmp_path / "seeds.json").read_text(encoding="utf-8"))
    assert [(row["method"], row["seed"]) for row in report["rows"]] == [
        ("causal", 1),
        ("causal", 2),
        ("pseudo_mask", 1),
        (PEER, 1),
    ]
    assert report["methods"]["causal"]["seeds"] == [1, 2]
    assert report["num_learned"] == 2
    assert {tuple(each["pair"]) for each in report["comparisons"]} == {
        ("pseudo_mask", "causal"),
        ("causal", PEER),
        ("pseudo_mask", PEER),
    }
    written = page.read_text(encoding="utf-8")
    assert written.startswith("head\n<!-- debsum -->\n")
    assert "`pseudo_mask` − `causal`" in written
    assert "--cpu_seconds 20" in written
    assert str(tmp_path) not in written
    assert r"\*game\*" in outputs.read_text(encoding="utf-8")


def test_without_runs_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no runs"):
        seeds.main(arguments(tmp_path, "--only"))
