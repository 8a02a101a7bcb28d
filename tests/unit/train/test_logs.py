"""Lines of the log: what they add up, and that no step comes twice."""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from s2s_ft.train.logs import METRICS, TrainingLog, Window, drop_lines_after, write_json
from s2s_ft.train.loop import StepReport
from s2s_ft.train.schedule import Schedule

SCHEDULE = Schedule(total_steps=8, steps_per_epoch=4, global_batch_size=4, warmup_steps=0)


def report(loss: float, tokens: int, grad_norm: float = 2.0) -> StepReport:
    return StepReport(loss, grad_norm, learning_rate=0.5, tokens=tokens, examples=4)


def open_log(folder: Path, **changes: Any) -> TrainingLog:
    settings: dict[str, Any] = {"logging_steps": 2, "device": torch.device("cpu"), **changes}
    return TrainingLog(folder, folder / "tensorboard", SCHEDULE, **settings)


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / METRICS).read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def events(folder: Path) -> Iterator[Event]:
    """What TensorBoard reads: records of a length, its checksum, the event, its checksum."""
    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def test_a_line_averages_over_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2s_ft.train.logs.time.perf_counter", itertools.count(0.0, 5.0).__next__)
    with open_log(tmp_path) as log:
        log.update(1, report(4.0, 10))
        log.update(2, report(1.0, 30))
        log.forget_pause()
        log.update(3, report(9.0, 10))
        assert log.window.steps == 1
    (line,) = lines(tmp_path)
    assert line["step"] == 2
    assert line["epoch"] == 0.5
    assert line["loss"] == pytest.approx(1.75)
    assert (line["learning_rate"], line["grad_norm"]) == (0.5, 2.0)
    assert line["seconds"] == 10.0
    assert line["target_tokens_per_second"] == 4.0
    assert line["examples_per_second"] == 0.8
    assert line["peak_memory_bytes"] > 1 << 20


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    with open_log(tmp_path, logging_steps=1) as log:
        log.update(1, report(4.0, 10))
        log.update(2, report(3.0, 10))
    scalars = {
        (value.tag, event.step): value.simple_value
        for event in events(tmp_path / "tensorboard")
        for value in event.summary.value
    }
    assert scalars["train/loss", 1] == 4.0
    assert scalars["train/loss", 2] == 3.0
    assert scalars["train/grad_norm", 2] == 2.0
    assert ("train/target_tokens_per_second", 2) in scalars


def test_what_is_not_finite_is_no_number_in_the_file(tmp_path: Path) -> None:
    with open_log(tmp_path, logging_steps=1) as log:
        log.update(1, report(4.0, 10, grad_norm=math.inf))
    assert lines(tmp_path)[0]["grad_norm"] is None


@pytest.mark.parametrize("logging_steps", [0, -1])
def test_lines_can_be_switched_off(tmp_path: Path, logging_steps: int) -> None:
    with open_log(tmp_path, logging_steps=logging_steps) as log:
        log.update(1, report(4.0, 10))
    assert lines(tmp_path) == []


def test_a_resumed_log_goes_on_without_repeating(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for step in range(1, 4):
            log.update(step, report(float(step), 10))
        window = Window.from_dict(json.loads(json.dumps(asdict(log.window))))
        log.update(4, report(40.0, 10))
    with (tmp_path / METRICS).open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "lo')
    with open_log(tmp_path, first_step=3, window=window) as log:
        log.update(4, report(4.0, 10))
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(2, 1.5), (4, 3.5)]


def test_lines_up_to_a_step_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    drop_lines_after(path, 3)
    assert not path.exists()
    path.write_text('{"step":1}\nnonsense\n{"step": 3}\n{"step": 5}\n', encoding="utf-8")
    drop_lines_after(path, 3)
    assert path.read_text(encoding="utf-8") == '{"step":1}\n{"step": 3}\n'


def test_the_bar_tells_loss_rate_and_speed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2s_ft.train.logs.BAR_SECONDS_IN_FILE", 0.0)
    with open_log(tmp_path) as log:
        log.update(1, report(4.25, 10))
    shown = capsys.readouterr().err
    assert "1/8" in shown
    assert "loss 4.250, lr 5.00e-01" in shown
    assert "target tokens/s" in shown


def test_json_files_are_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ä": 1})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ä": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
