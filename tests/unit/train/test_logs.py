"""What a run tells: lines, curves, samples, and that no step comes twice."""

from __future__ import annotations

import itertools
import json
import logging
import math
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from s2s_ft.cli import EnvironmentFault
from s2s_ft.options.train import CheckpointOptions
from s2s_ft.train.best import Tracker
from s2s_ft.train.dev_report import DevReport, Sample
from s2s_ft.train.distributed import World
from s2s_ft.train.lines import (
    METRICS,
    OPTIONS,
    REPORT,
    SAMPLES,
    SESSIONS,
    drop_lines_after,
    read_lines,
    write_json,
)
from s2s_ft.train.logs import TrainingLog, Window, remove_logs
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.step import StepReport
from s2s_ft.train.wandb_run import require_wandb

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


def test_a_line_averages_over_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2s_ft.train.logs.time.perf_counter", itertools.count(0.0, 5.0).__next__)
    with open_log(tmp_path) as log:
        log.update(report(1, 4.0, 10))
        log.update(report(2, 1.0, 30))
        log.forget_pause()
        log.update(report(3, 9.0, 10))
        assert log.window.steps == 1
    (line,) = lines(tmp_path)
    assert (line["kind"], line["step"]) == ("train", 2)
    assert line["epoch"] == 0.5
    assert line["loss"] == pytest.approx(1.75)
    assert (line["learning_rate"], line["grad_norm"]) == (0.5, 2.0)
    assert line["seconds"] == 10.0
    assert line["target_tokens_per_second"] == 4.0
    assert line["examples_per_second"] == 0.8
    assert line["peak_memory_bytes"] > 1 << 20


def test_the_last_update_has_a_line_of_its_own(tmp_path: Path) -> None:
    with open_log(tmp_path, options={"logging_steps": 5}) as log:
        assert [step for step in range(1, 9) if log.is_line_due(step)] == [5, 8]
        for step in range(1, 9):
            log.update(report(step, float(step)))
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(5, 3.0), (8, 7.0)]


def test_a_look_has_a_line_and_its_samples(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with open_log(tmp_path) as log:
        log.look(found(2), improved=True)
    (line,) = lines(tmp_path)
    assert line == {
        "kind": "look",
        "step": 2,
        "epoch": 0.5,
        "dev_loss": 3.0,
        "dev_rouge1": 31.5,
        "dev_bleu": 7.25,
        "examples": 16,
        "seconds": 1.5,
        "improved": True,
    }
    (sample,) = lines(tmp_path, SAMPLES)
    assert sample == {"step": 2, **asdict(found(2).samples[0])}
    assert "loss 3.0000, rouge1 31.50, bleu 7.25 (1.5 s), the best so far" in caplog.text
    assert "row 5, source: a tool that is free" in caplog.text
    assert "generated: tool for games" in caplog.text


def test_the_time_of_a_look_is_no_training_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("s2s_ft.train.logs.time.perf_counter", lambda: clock.now)
    with open_log(tmp_path) as log:
        clock.now = 1.0
        log.update(report(1, 4.0))
        clock.now = 100.0
        log.look(found(1), improved=False)
        clock.now = 101.0
        log.update(report(2, 4.0))
    assert lines(tmp_path)[-1]["seconds"] == 2.0


def test_tensorboard_gets_the_same_numbers_and_texts(tmp_path: Path) -> None:
    with open_log(tmp_path, options={"logging_steps": 1}) as log:
        log.update(report(1, 4.0))
        log.update(report(2, 3.0))
        log.look(found(2), improved=False)
    values = {
        (value.tag, event.step): value
        for event in events(tmp_path / "tensorboard")
        for value in event.summary.value
    }
    scalars = {key: value.simple_value for key, value in values.items()}
    assert scalars["train/loss", 1] == 4.0
    assert scalars["train/loss", 2] == 3.0
    assert scalars["train/grad_norm", 2] == 2.0
    assert scalars["dev/loss", 2] == 3.0
    assert scalars["dev/bleu", 2] == 7.25
    assert ("train/target_tokens_per_second", 2) in scalars
    (text,) = [value for (tag, _), value in values.items() if tag.startswith("dev/sample_4")]
    assert b"tool for games" in text.tensor.string_val[0]


def test_what_is_not_finite_is_no_number_in_the_file(tmp_path: Path) -> None:
    with open_log(tmp_path, options={"logging_steps": 1}) as log:
        log.update(report(1, 4.0, grad_norm=math.inf))
        log.look(found(1, loss=math.nan), improved=False)
    train, look = lines(tmp_path)
    assert train["grad_norm"] is None
    assert look["dev_loss"] is None


@pytest.mark.parametrize("logging_steps", [0, -1])
def test_lines_can_be_switched_off(tmp_path: Path, logging_steps: int) -> None:
    with open_log(tmp_path, options={"logging_steps": logging_steps}) as log:
        for step in range(1, 9):
            log.update(report(step, 4.0))
    assert lines(tmp_path) == []


def test_a_resumed_log_goes_on_without_repeating(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for step in range(1, 4):
            log.update(report(step, float(step)))
        window = Window.from_dict(json.loads(json.dumps(asdict(log.window))))
        log.update(report(4, 40.0))
    with (tmp_path / METRICS).open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "lo')
    with open_log(tmp_path, first_step=3, window=window) as log:
        log.update(report(4, 4.0))
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(2, 1.5), (4, 3.5)]


@pytest.mark.parametrize(
    ("last_step", "kept"),
    [(4, [2, 4]), (2, [2]), (None, [])],
    ids=["saved after the look", "saved, the look cut short", "never looked"],
)
def test_a_look_that_the_checkpoint_does_not_know_of_is_told_anew(
    tmp_path: Path, last_step: int | None, kept: list[int]
) -> None:
    with open_log(tmp_path) as log:
        for step in range(1, 7):
            log.update(report(step, 4.0))
            if step % 2 == 0:
                log.look(found(step), improved=False)
    tracker = Tracker("loss", last_step=last_step)
    with open_log(tmp_path, first_step=4, tracker=tracker):
        pass
    told = lines(tmp_path)
    assert [line["step"] for line in told if line["kind"] == "train"] == [2, 4]
    assert [line["step"] for line in told if line["kind"] == "look"] == kept
    assert [sample["step"] for sample in lines(tmp_path, SAMPLES)] == kept


def test_lines_up_to_a_step_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    drop_lines_after(path, 3)
    assert not path.exists()
    path.write_text('{"step":1}\nnonsense\n[2]\n{"step": 3}\n{"step": 5}\n', encoding="utf-8")
    drop_lines_after(path, 3)
    assert path.read_text(encoding="utf-8") == '{"step":1}\n{"step": 3}\n'


def test_a_text_may_hold_any_line_end(tmp_path: Path) -> None:
    generated = "one\u2028two\x85three\nfour\rfive"
    with open_log(tmp_path) as log:
        log.look(found(2, generated=generated), improved=False)
    drop_lines_after(tmp_path / SAMPLES, 2)
    assert [line["generated"] for line in read_lines(tmp_path / SAMPLES)] == [generated]


def test_the_bar_tells_loss_rate_and_speed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2s_ft.train.logs.BAR_SECONDS_IN_FILE", 0.0)
    with open_log(tmp_path) as log:
        log.update(report(1, 4.25))
    shown = capsys.readouterr().err
    assert "1/8" in shown
    assert "loss 4.250, lr 5.00e-01" in shown
    assert "target tokens/s" in shown


def test_only_the_main_rank_is_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_log(tmp_path, world=World(rank=1, size=2)) as log:
        log.update(report(1, 4.0))
        assert log.window.steps == 1
        log.update(report(2, 4.0))
        assert log.window.steps == 0
        log.look(found(2), improved=True)
        log.flush()
        log.end("all updates are done", finished=True)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


def test_an_end_is_written_down_with_a_report(tmp_path: Path) -> None:
    write_json(tmp_path / OPTIONS, {"schedule": asdict(SCHEDULE)})
    with open_log(tmp_path, world=World(size=1)) as log:
        log.update(report(1, 4.0))
        log.update(report(2, 4.0))
        log.end("stopped by SIGTERM", finished=False)
    start, end = lines(tmp_path, SESSIONS)
    assert (start["kind"], start["step"], start["ranks"]) == ("start", 0, 1)
    assert start["versions"]["torch"] == torch.__version__
    assert (end["kind"], end["step"], end["finished"]) == ("end", 2, False)
    assert "stopped by SIGTERM" in (tmp_path / REPORT).read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_fails_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_json(tmp_path / OPTIONS, {})
    (tmp_path / REPORT).mkdir()
    with open_log(tmp_path) as log:
        log.end("all updates are done", finished=True)
    assert "report.html cannot be written" in caplog.text
    assert "python -m s2s_ft.train.report" in caplog.text


def test_a_new_run_forgets_what_an_old_one_told(tmp_path: Path) -> None:
    write_json(tmp_path / OPTIONS, {})
    options = CheckpointOptions(output_dir=str(tmp_path))
    with open_log(tmp_path) as log:
        log.look(found(2), improved=True)
        log.end("all updates are done", finished=True)
    (tmp_path / "ckpt-2").mkdir()
    remove_logs(options)
    assert {path.name for path in tmp_path.iterdir()} == {OPTIONS, "ckpt-2"}
    remove_logs(options)


class FakeWandb:
    """The few calls of Weights & Biases that are made."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.started: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.finished = 0

    def init(self, **arguments: Any) -> FakeWandb:
        if self.fault is not None:
            raise self.fault
        self.started.append(arguments)
        return self

    def log(self, numbers: dict[str, Any], step: int) -> None:
        self.logged.append((step, numbers))

    def finish(self) -> None:
        self.finished += 1

    def Table(self, columns: list[str], data: list[list[Any]]) -> Any:  # noqa: N802
        return [dict(zip(columns, row, strict=True)) for row in data]


def test_weights_and_biases_goes_on_in_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    write_json(tmp_path / OPTIONS, {"data": {"train_file": "train.jsonl"}})
    options = {"wandb_project": "summaries", "logging_steps": 1}
    with open_log(tmp_path, options=options) as log:
        log.update(report(1, 4.0))
        log.look(found(1), improved=True)
    with open_log(tmp_path, options=options, first_step=1):
        pass
    first, second = fake.started
    assert first == second
    assert (first["project"], first["resume"]) == ("summaries", "allow")
    assert first["config"] == {"data": {"train_file": "train.jsonl"}}
    assert fake.finished == 2
    numbers = {name: value for _, logged in fake.logged for name, value in logged.items()}
    assert (numbers["train/loss"], numbers["dev/rouge1"]) == (4.0, 31.5)
    assert numbers["dev/samples"] == [asdict(found(1).samples[0])]
    with open_log(tmp_path, options={"wandb_project": "other"}):
        pass
    assert fake.started[2]["id"] != first["id"]


def test_weights_and_biases_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(EnvironmentFault, match=r"--wandb_project .*pip install wandb"):
        open_log(tmp_path, options={"wandb_project": "summaries"})
    with pytest.raises(EnvironmentFault, match=r"--wandb_project .*pip install wandb"):
        require_wandb("summaries")
    require_wandb(None)


def test_weights_and_biases_that_turns_us_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(RuntimeError("no API key\nsecond line")))
    with pytest.raises(EnvironmentFault, match=r"\(no API key\).*WANDB_MODE=offline"):
        open_log(tmp_path, options={"wandb_project": "summaries"})


def test_json_files_are_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ä": 1})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ä": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
