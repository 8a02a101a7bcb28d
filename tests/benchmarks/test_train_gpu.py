"""The benchmark of training on a GPU, tried on a model of no size wherever the tests run."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import train_gpu
from benchmarks.floor import floor_gigaflop
from benchmarks.gpu_rows import TECHNIQUES, contestant, product_peak
from benchmarks.rounds import Row
from s2s_ft.layout import Corrupted, lay_out
from tests.distributed.ranks import ROOT

BASE = type("Config", (), {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072})


@pytest.fixture(scope="module")
def figures() -> dict[int, dict[str, Any]]:
    """Of every rung but the compiled one, which needs a C++ compiler on a CPU."""
    setting = replace(train_gpu.TINY, dropout=0.0)
    return {level: contestant(setting, level=level)() for level in range(len(TECHNIQUES))}


def test_all_rungs_train_the_same(figures: dict[int, dict[str, Any]]) -> None:
    for row in figures.values():
        assert row["loss"] == pytest.approx(figures[0]["loss"], rel=1e-4)
        for name in ("examples", "supervised", "tokens", "gigaflop"):
            assert row[name] == figures[0][name]
    assert figures[0]["cells"] > figures[1]["cells"] == figures[3]["cells"]


def rows(figures: dict[int, dict[str, Any]]) -> dict[str, Row]:
    made = [Row(f"rung {n}", 10.0 + n, [10.0 + n], 1.0, row) for n, row in figures.items()]
    peak = Row(train_gpu.PEAK, 1000.0, [1000.0], 1.0, {})
    return {"plain": made[0], train_gpu.PEAK: peak, **{row.name: row for row in made[1:]}}


def test_a_row_of_the_table(figures: dict[int, dict[str, Any]]) -> None:
    all_rows = rows(figures)
    row = train_gpu.table_row("14/6", all_rows["rung 3"], all_rows)
    assert row["times plain"] == 1.3
    assert row["target tokens/s"] == pytest.approx(
        13 * figures[3]["supervised"] / figures[3]["examples"], abs=0.1
    )
    of_one = figures[3]["gigaflop"] / figures[3]["examples"]
    assert row["MFU"] == pytest.approx(of_one * 13 / 1000, abs=1e-3)
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_a_report_of_a_cpu_says_so(
    figures: dict[int, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    names = [*train_gpu.contestants(train_gpu.TINY, compiled=False), train_gpu.PEAK]

    def measured(given: dict[str, Any], rounds: int) -> list[Row]:
        assert list(given) == names
        made = list(rows(figures).values())
        made = [made[0], *made[2:], made[1]]
        return [replace(row, name=name) for row, name in zip(made, names, strict=True)]

    monkeypatch.setattr(train_gpu, "measure", measured)
    train_gpu.main(["--tiny", "--no_compile", "--results", str(tmp_path)])
    report = json.loads((tmp_path / "train_gpu_tiny.json").read_text(encoding="utf-8"))
    assert "nothing of a GPU" in report["device"]
    assert len(report["rows"]) == len(names) - 1
    with pytest.raises(SystemExit, match="no CUDA device"):
        train_gpu.main([])


def test_the_peak_is_that_of_products() -> None:
    assert product_peak(16)()["examples"] == pytest.approx(50 * 2 * 16**3 / 1e9)


def test_the_arithmetic_of_bert_base() -> None:
    """24 H² for each token and layer, 4 H for each pair that sees one another, and the head."""
    config: Any = BASE()
    config.vocab_size = 30522
    source, target = np.ones(464, np.int64), np.ones(48, np.int64)
    batch = lay_out([Corrupted(source, target, target, np.arange(48), target)], 0, 2)
    whole, least = (floor_gigaflop(batch, config, whole=each) for each in (True, False))
    assert whole / 3 == pytest.approx(107.1, abs=0.1)
    assert least / 3 == pytest.approx(100.3, abs=0.1)


def test_help_needs_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "benchmarks" / "train_gpu.py"))["main"](["--help"])
    assert end.value.code == 0
    assert "MFU" in capsys.readouterr().out
