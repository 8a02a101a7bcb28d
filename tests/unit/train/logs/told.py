"""What a log is told, and how to read what it wrote."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from s2s_ft.options.train import CheckpointOptions
from s2s_ft.train.dev_report import DevReport, Sample
from s2s_ft.train.lines import METRICS
from s2s_ft.train.logs import TrainingLog
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.step import StepReport

SCHEDULE = Schedule(total_steps=8, steps_per_epoch=4, global_batch_size=4, warmup_steps=0)


def report(step: int, loss: float, tokens: int = 10, grad_norm: float = 2.0) -> StepReport:
    return StepReport(
        step=step, loss=loss, grad_norm=grad_norm, learning_rate=0.5, tokens=tokens, examples=4
    )


def found(step: int, loss: float = 3.0, generated: str = "tool for games") -> DevReport:
    samples = (Sample(4, "a tool that is free", "free tool", generated),)
    return DevReport(step, loss, {"rouge1": 31.5, "bleu": 7.25}, samples, 1.5, 16)


def open_log(folder: Path, **changes: Any) -> TrainingLog:
    checkpoint = {"logging_steps": 2, **changes.pop("options", {})}
    return TrainingLog(
        CheckpointOptions(output_dir=str(folder), **checkpoint),
        SCHEDULE,
        torch.device("cpu"),
        **changes,
    )


def lines(folder: Path, name: str = METRICS) -> list[dict[str, Any]]:
    text = (folder / name).read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def events(folder: Path) -> Iterator[Event]:
    """What TensorBoard reads: records of a length, its checksum, the event, its checksum."""
    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
