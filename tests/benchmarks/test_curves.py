"""The figures of the documentation: whole SVG files that show what is in the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.curves import main, of_methods, of_seeds
from benchmarks.seed_runs import KEYS, METHODS

SVG = "{http://www.w3.org/2000/svg}"

LOOKS = [
    {"run": name, "step": step, "loss": 9.0 - step / 10 - place, "RL": step + place}
    for place, name in enumerate(METHODS)
    for step in (10, 20, 30)
] + [{"run": "s_base", "step": 900, "loss": 4.0, "RL": 1.0}]


def seeds_report() -> dict[str, Any]:
    values = {"causal": (30.0, 32.0), "masked": (20.0, 21.0), "bert<2>": (9.0,)}
    return {
        "num_examples": 1070,
        "rows": [
            {"method": name, **dict.fromkeys(KEYS, value)}
            for name, each in values.items()
            for value in each
        ],
        "methods": {
            name: {
                key: {"value": sum(each) / len(each), "low": min(each) - 1, "high": max(each) + 1}
                for key in KEYS
            }
            for name, each in values.items()
        },
    }


def places(root: ElementTree.Element, kind: str) -> list[float]:
    return [float(c.get("cx", "")) for c in root.iter(f"{SVG}circle") if c.get("class") == kind]


def test_curves_of_the_methods() -> None:
    root = ElementTree.fromstring(of_methods(LOOKS, "a < b"))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert all(texts.count(name) == 2 for name in METHODS)
    assert "a < b" in texts
    assert "s_base" not in texts
    assert len(places(root, "dot")) == 2 * 9
    assert "900" not in texts  # the short runs do not stretch the axis


def test_methods_that_have_not_looked_yet_are_left_out() -> None:
    started = [row for row in LOOKS if row["run"] != "masked"]
    root = ElementTree.fromstring(of_methods(started))
    assert "masked" not in [text.text for text in root.iter(f"{SVG}text")]


def test_means_and_seeds_lie_where_they_belong() -> None:
    root = ElementTree.fromstring(of_seeds(seeds_report()))
    dots, hollow = places(root, "dot"), places(root, "hollow")
    assert (len(dots), len(hollow)) == (9, 15)
    causal, masked, peer = dots[:3]
    assert peer < masked < causal
    assert causal == pytest.approx(sum(hollow[:2]) / 2, abs=0.1)
    assert "bert<2>" in [text.text for text in root.iter(f"{SVG}text")]


def test_nothing_leaves_the_drawing() -> None:
    root = ElementTree.fromstring(of_seeds(seeds_report()))
    width = float(root.get("width", ""))
    marks = [float(text.get("x", "")) for text in root.iter(f"{SVG}text")]
    assert all(0 < mark < width - 10 for mark in marks)


def test_a_figure_for_each_result_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = [{**row, "run": f"l_{row['run']}", "step": 3 * row["step"]} for row in LOOKS]
    (tmp_path / "methods.json").write_text(json.dumps({"rows": LOOKS + long}), encoding="utf-8")
    main(["--results", str(tmp_path), "--folder", str(tmp_path / "figures")])
    drawn = {file.name: file.read_text("utf-8") for file in (tmp_path / "figures").iterdir()}
    assert set(drawn) == {"debsum-methods.svg", "debsum-methods-long.svg"}
    assert drawn["debsum-methods.svg"] != drawn["debsum-methods-long.svg"]
    assert "three passes" in drawn["debsum-methods-long.svg"]
    told = capsys.readouterr().out
    assert "no debsum-seeds.svg" in told
    assert "no debsum-seeds-converged.svg" in told
