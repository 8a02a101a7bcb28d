"""What is asked of the outcomes of runs on GPUs, of training above all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.gpu.conftest import Outcome
from tests.unit.train.runs import without_times

MAY_WAIT = (
    "train/preparation.py:prepare",  # the model goes to the device
    "train/distributed.py:wrap",  # the same, and torch sees that all ranks have the same one
    "train/sharding.py:",  # the same, and it is brought together for a checkpoint
    "transfer.py:values",  # an update's numbers, when the next one has been launched
    "train/failure.py:check_weights",  # before a checkpoint
    "train/checkpoint.py:",
    "train/resume.py:",
    "model/saving.py:",
    "model/adapters.py:",
    "train/teacher.py:",
    "train/evaluate.py:",
    "decode/",
    "model/columns.py:_live_columns",
)
"""Places where the host may wait for the device."""


def assert_close(one: Path, other: Path, least: float) -> None:
    """Two runs of six updates have come to the same weights and the same moments of gradients."""
    for file in ("model.safetensors", "optimizer.safetensors"):
        ours, theirs = (load_file(run / "ckpt-6" / file) for run in (one, other))
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            torch.testing.assert_close(value, theirs[key], rtol=1e-3, atol=least, msg=key)


def places(outcome: Outcome) -> dict[str, int]:
    """Where the host waited, and how often."""
    return {wait.split(" in ")[1]: count for wait, count in outcome["waits"].items()}


def assert_no_needless_wait(outcome: Outcome, *more: str) -> None:
    """The host waited where it may, or at `more` places, and nowhere else."""
    may = (*MAY_WAIT, *more)
    assert {each for each in places(outcome) if not each.startswith(may)} == set()


def waits_for_numbers(outcome: Outcome) -> int:
    """How often the host waited for the numbers of an update that had been computed."""
    return places(outcome)["transfer.py:values"]


def figures(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line of metrics that are the same every time."""
    return {name: value for name, value in without_times(line).items() if name != "kind"}
