"""A short run, some updates into it, and how two of them compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from s2s_ft.storage.checkpoint_record import RECORD
from s2s_ft.train.checkpoint import OPTIMIZER
from s2s_ft.train.preparation import Preparation
from s2s_ft.train.resume import save_checkpoint
from s2s_ft.train.step import take_updates
from s2s_ft.train.window import Window

Ready = Callable[..., Preparation]
FILES = (
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    OPTIMIZER,
    "tokenizer.json",
    "tokenizer_config.json",
    RECORD,
)
"""Every file of a checkpoint; a test holds this list to the truth."""


def advance(run: Preparation, updates: int) -> None:
    """Take some updates."""
    taken = take_updates(run.state, run.data, wait_at=lambda _step: True, signal=lambda: None)
    for _ in range(updates):
        next(taken)
    taken.close()


def save(run: Preparation, output_dir: Path, **more: Any) -> Path:
    what = {"validation": None, "finished": None, "keep": 0, **more}
    return save_checkpoint(output_dir, run.state, run.codec, run.facts, Window(steps=1), **what)


def assert_same_state(one: Preparation, other: Preparation) -> None:
    assert one.state.step == other.state.step
    weights = other.state.model.state_dict()
    for name, weight in one.state.model.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    first, second = one.state.optimizer.state_dict(), other.state.optimizer.state_dict()
    for index, kinds in first["state"].items():
        for kind, value in kinds.items():
            assert torch.equal(value, second["state"][index][kind])
