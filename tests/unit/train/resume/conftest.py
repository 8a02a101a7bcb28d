"""A run that is ready to begin."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.options import TrainOptions, build
from s2s_ft.train import arithmetic
from s2s_ft.train.distributed import World
from s2s_ft.train.preparation import Preparation, prepare
from tests.unit.train.resume.states import Ready


@pytest.fixture(autouse=True)
def _quiet_surroundings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(arithmetic, "fast_float32_matmul", lambda: "highest")
    caplog.set_level(logging.INFO)


@pytest.fixture
def flags(
    tiny_checkpoint: Callable[[str], Path], data_file: Path, tmp_path: Path
) -> dict[str, Any]:
    """A short run with dropout and two passes an update, whose middle is not between two epochs."""
    return {
        "train_file": str(data_file),
        "model_name_or_path": str(tiny_checkpoint("bert")),
        "output_dir": str(tmp_path / "out"),
        "max_source_seq_length": 14,
        "max_target_seq_length": 6,
        "per_gpu_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "num_training_steps": 6,
        "learning_rate": 1e-3,
        "dropout": 0.1,
        "save_steps": 2,
        "logging_steps": 1,
        "no_cuda": True,
    }


@pytest.fixture
def ready(flags: dict[str, Any], tmp_path: Path) -> Ready:
    """A function that prepares the run with some flags changed."""
    (tmp_path / "out").mkdir()

    def make(**changes: Any) -> Preparation:
        return prepare(build(TrainOptions, {**flags, **changes}), World())

    return make
