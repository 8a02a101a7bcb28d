"""Whole runs with held-out rows: looks, the best model, patience, and signals in between."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.cli import TrainingFault
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.storage.checkpoint_record import read_record
from s2s_ft.train.evaluate import Validator
from s2s_ft.train.lines import SAMPLES, read_lines
from tests.unit.train.logs.told import events
from tests.unit.train.runs import (
    Train,
    assert_same_checkpoint,
    checkpoints,
    interrupt_at,
    metrics,
    without_times,
)


@pytest.fixture
def look(run: Train, data_file: Path) -> Train:
    """A function that trains with looks at five held-out rows, after every second update."""

    def start(**flags: Any) -> int:
        usual = {"dev_file": str(data_file), "num_dev_examples": 5, "eval_steps": 2}
        return run(**{**usual, **flags})

    return start


def test_looks_and_the_best_model(look: Train, output_dir: Path) -> None:
    assert look(eval_steps=4) == 0
    looks = metrics(output_dir, "look")
    assert [line["step"] for line in looks] == [4, 6]
    assert all(line["dev_rouge1"] >= 0 for line in looks)
    load_finetuned(str(output_dir / "best"))
    assert (output_dir / "report.html").exists()
    assert checkpoints(output_dir) == {"ckpt-6"}


def test_a_best_model_that_is_gone_is_told_of_and_saved_anew(
    look: Train, output_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    look(learning_rate=1e-9, num_training_steps=2, num_warmup_steps=0)
    shutil.rmtree(output_dir / "best")
    look(learning_rate=1e-9, num_training_steps=4, num_warmup_steps=0)
    assert re.search("best of update 2, is gone .*: the next look counts as the best", caplog.text)
    load_finetuned(str(output_dir / "best"))
    caplog.clear()
    look(learning_rate=1e-9, num_training_steps=6, num_warmup_steps=0)
    assert "is gone" not in caplog.text


def test_a_best_model_of_updates_that_are_taken_back(
    look: Train, output_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that goes on alike makes it again; in another way, what is left is a stranger's."""

    def back() -> int:
        for step in ("4", "6"):
            shutil.rmtree(output_dir / f"ckpt-{step}", ignore_errors=True)
        step: int = read_record(output_dir / "best")["step"]
        return step

    assert look(save_steps=2) == 0
    looks = metrics(output_dir, "look")
    assert [line["improved"] for line in looks] == [True, True, True]
    assert back() == 6
    assert look(save_steps=2, keep_checkpoints=9) == 0  # which decides nothing of an update
    assert "keep_checkpoints" in caplog.text
    assert "is gone" not in caplog.text
    assert list(map(without_times, metrics(output_dir, "look"))) == list(map(without_times, looks))

    assert back() == 6
    assert look(save_steps=2, learning_rate=0.3) == 0  # nothing is better than after update 2
    assert "best of update 2, is gone (the folder holds that of update 6)" in caplog.text
    assert [line["improved"] for line in metrics(output_dir, "look")][:2] == [True, True]
    told = read_record(output_dir / "ckpt-6")["validation"]["best_step"]
    assert back() == told


@pytest.mark.parametrize("looks", [False, True])
def test_what_an_update_leaves_is_not_saved_unless_it_is_numbers(
    run: Train, look: Train, output_dir: Path, *, looks: bool
) -> None:
    start = look if looks else run
    with pytest.raises(TrainingFault, match=r"after update 1 .* not finite"):
        start(learning_rate=1e38, num_warmup_steps=0, num_training_steps=1)
    assert not checkpoints(output_dir)
    assert not (output_dir / "best").exists()


def test_a_look_changes_nothing_of_training(look: Train, run: Train, tmp_path: Path) -> None:
    look(output_dir=str(tmp_path / "looking"))
    run(output_dir=str(tmp_path / "blind"))
    assert_same_checkpoint(tmp_path / "looking" / "ckpt-6", tmp_path / "blind" / "ckpt-6")


def cut_short(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Have a signal come in the middle of the look after an update."""
    own = Validator.look

    def look(self: Validator, model: Any, precision: Any, now: int, stop: Any) -> Any:
        if now == step:
            os.kill(os.getpid(), signal.SIGUSR1)
        return own(self, model, precision, now, stop)

    monkeypatch.setattr(Validator, "look", look)


@pytest.mark.parametrize("step", [2, 6])
def test_a_signal_in_the_middle_of_a_look(
    step: int, look: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint does not know of the look, and the resumed run begins with it."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert look(output_dir=str(whole)) == 0
    with monkeypatch.context() as patch:
        cut_short(patch, step)
        assert look(output_dir=str(parts)) == 128 + signal.SIGUSR1
    assert checkpoints(parts) == {f"ckpt-{step}"}
    assert step not in [line["step"] for line in metrics(parts, "look")]
    assert look(output_dir=str(parts)) == 0
    assert_same_checkpoint(whole / "ckpt-6", parts / "ckpt-6")
    for kind in ("train", "look"):
        lines = [[without_times(line) for line in metrics(each, kind)] for each in (whole, parts)]
        assert lines[0] == lines[1]
    records = [
        json.loads((each / "ckpt-6" / "training_state.json").read_text(encoding="utf-8"))
        for each in (whole, parts)
    ]
    assert records[0]["validation"] == records[1]["validation"]


def test_a_look_that_was_missed_is_taken_once(
    look: Train, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the start that took it is killed before its next save."""
    with monkeypatch.context() as patch:
        cut_short(patch, 2)
        look()

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("s2s_ft.train.step._launch", killed)
        with pytest.raises(KeyboardInterrupt):
            look()
    assert look() == 0
    told = [
        event.step
        for event in events(output_dir / "tensorboard")
        for value in event.summary.value
        if value.tag == "dev/loss"
    ]
    assert told == [2, 4, 6]


def test_out_of_patience(look: Train, output_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is learnt, so the first look stays the best; what ended stays ended."""
    impatient = {"learning_rate": 1e-30, "eval_steps": 1, "early_stopping_patience": 2}
    assert look(**impatient) == 0
    assert checkpoints(output_dir) == {"ckpt-3"}
    assert "no better loss in 2 looks at --dev_file (the best was at update 1)" in caplog.text
    assert look(**impatient) == 0
    assert "nothing is left to do: no better loss" in caplog.text
    assert checkpoints(output_dir) == {"ckpt-3"}
    assert look(**{**impatient, "early_stopping_patience": 1}) == 0
    assert checkpoints(output_dir) == {"ckpt-3"}
    assert look(**{**impatient, "early_stopping_patience": 3}) == 0
    assert checkpoints(output_dir) == {"ckpt-3", "ckpt-4"}


def test_looks_are_kept_where_a_start_in_between_has_no_held_out_rows(
    look: Train, run: Train, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best so far, too."""
    # No later look is better than the first.
    settled = {"learning_rate": 1e-30, "num_training_steps": 10}
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, signal.SIGTERM)
        assert look(**settled) == 128 + signal.SIGTERM
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7, signal.SIGTERM)
        assert run(**settled) == 128 + signal.SIGTERM
    assert look(**settled) == 0
    lines = metrics(output_dir, "look")
    assert [(line["step"], line["improved"]) for line in lines] == [
        (2, True),
        (8, False),  # due where that start ended
        (10, False),
    ]
    samples = read_lines(output_dir / SAMPLES)
    assert sorted({line["step"] for line in samples}) == [2, 8, 10]
    assert read_record(output_dir / "best")["step"] == 2


def test_patience_survives_a_resume(
    look: Train, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = {"learning_rate": 1e-30, "eval_steps": 1, "early_stopping_patience": 3}
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, signal.SIGTERM)
        assert look(**impatient) == 128 + signal.SIGTERM
    assert look(**impatient) == 0
    assert checkpoints(output_dir) == {"ckpt-2", "ckpt-4"}
