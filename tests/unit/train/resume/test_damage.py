"""A checkpoint that is torn in any of its files."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.options import TrainOptions, build
from s2s_ft.storage.checkpoint_record import find_fault
from s2s_ft.train.checkpoint import OPTIMIZER
from s2s_ft.train.run import train
from tests.unit.train.resume.states import FILES


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = random.Random(path.name).randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


@pytest.fixture(scope="module")
def finished_runs() -> dict[str, Path]:
    return {}


@pytest.fixture
def whole(
    flags: dict[str, Any], finished_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output folder of an undisturbed run, made once."""
    if "whole" not in finished_runs:
        folder = tmp_path_factory.mktemp("whole") / "out"
        assert train(build(TrainOptions, {**flags, "output_dir": str(folder)})) == 0
        finished_runs["whole"] = folder
    return finished_runs["whole"]


@pytest.mark.parametrize("damage", [cut, empty, flip, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_a_torn_checkpoint_is_passed_over_and_costs_no_bit(
    name: str,
    damage: Callable[[Path], None],
    whole: Path,
    flags: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The run goes on from the checkpoint before and ends with the same bits and lines."""
    output_dir = tmp_path / "out"
    shutil.copytree(whole, output_dir)
    shutil.rmtree(output_dir / "ckpt-6")
    damage(output_dir / "ckpt-4" / name)
    assert train(build(TrainOptions, flags)) == 0
    assert "passing over the damaged checkpoint" in caplog.text
    assert f"ckpt-4: {name}" in caplog.text
    assert "ckpt-2, 2 of 6 updates done" in caplog.text
    for file in ("model.safetensors", OPTIMIZER):
        pair = (folder / "ckpt-6" / file for folder in (whole, output_dir))
        first, second = (path.read_bytes() for path in pair)
        assert first == second
    steps = [json.loads(line)["step"] for line in (output_dir / "metrics.jsonl").open()]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert find_fault(output_dir / "ckpt-4") is None  # taken again, and replaced
