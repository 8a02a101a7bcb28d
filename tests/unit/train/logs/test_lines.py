"""The lines of a run: which there are, what they hold, and that none comes twice."""

from __future__ import annotations

import itertools
import json
import logging
import math
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from s2s_ft.train.best import Tracker
from s2s_ft.train.lines import (
    METRICS,
    SAMPLES,
    SESSIONS,
    append_line,
    drop_lines_after,
    read_lines,
    write_json,
)
from s2s_ft.train.window import Window
from tests.unit.train.logs.told import events, found, lines, open_log, report


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


@pytest.mark.parametrize("lost", [1, 20])
def test_a_torn_line_takes_no_other_with_it(lost: int, tmp_path: Path) -> None:
    path = tmp_path / SESSIONS
    append_line(path, {"step": 0, "command": "run_seq2seq.py"})
    append_line(path, {"step": 3, "ending": "stopped by SIGTERM"})
    path.write_bytes(path.read_bytes()[:-lost])
    append_line(path, {"step": 3, "command": "no text: \udcff"})
    append_line(path, {"step": 6})
    expected = [0, 3, 6] if lost > 1 else [0, 3, 3, 6]
    assert [line["step"] for line in read_lines(path)] == expected
    path.write_text("[" * 100_000 + '\n{"step": 1}\n', encoding="utf-8")
    assert read_lines(path) == [{"step": 1}]


def test_json_files_are_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ä": 1})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ä": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
