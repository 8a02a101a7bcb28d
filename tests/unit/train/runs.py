"""What whole runs leave, for tests of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from s2s_ft.train.step import StepReport, take_updates

STEPS = 6
"""Of 4 to the epoch, so that the middle of the run is not between two epochs."""

Train = Callable[..., int]


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("ckpt-*")}


def metrics(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if line["kind"] == kind]


def without_times(line: dict[str, Any]) -> dict[str, Any]:
    timed = ("seconds", "target_tokens_per_second", "examples_per_second", "peak_memory_bytes")
    return {name: value for name, value in line.items() if name not in timed}


def assert_same_checkpoint(one: Path, other: Path) -> None:
    for name in ("model.safetensors", "optimizer.safetensors"):
        first, second = load_file(one / name), load_file(other / name)
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert torch.equal(value, second[key]), f"{name}: {key}"


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """Have a signal come just before an update."""

    def interrupted(state: Any, data: Any, *, wait_at: Any, signal: Any) -> Iterator[StepReport]:
        def asked() -> int | None:
            if state.step + 1 == step:
                os.kill(os.getpid(), number)
            found: int | None = signal()
            return found

        return take_updates(state, data, wait_at=wait_at, signal=asked)

    monkeypatch.setattr("s2s_ft.train.run.take_updates", interrupted)
