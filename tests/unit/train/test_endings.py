"""What a run leaves of its end, whatever that is: a line of sessions.jsonl and a report."""

from __future__ import annotations

import errno
import html
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from s2s_ft.cli import EnvironmentFault, TrainingFault
from s2s_ft.train import resume
from s2s_ft.train.lines import REPORT, SESSIONS, read_lines
from tests.unit.train.runs import STEPS, Train, checkpoints, interrupt_at

DIVERGING = {"learning_rate": 1e30, "num_warmup_steps": 0}


def the_end(output_dir: Path) -> tuple[Any, ...]:
    """Updates, reason and whether it is the last one; the report tells the same."""
    last = read_lines(output_dir / SESSIONS)[-1]
    assert last["kind"] == "end"
    page = html.unescape((output_dir / REPORT).read_text(encoding="utf-8"))
    assert last["ending"] in page
    return last["step"], last["ending"], last["finished"]


def test_a_run_that_fails_says_why(run: Train, output_dir: Path) -> None:
    with pytest.raises(TrainingFault, match="nothing was stepped") as fault:
        run(**DIVERGING)
    step, ending, is_finished = the_end(output_dir)
    assert (ending, is_finished) == (str(fault.value), False)
    assert f"update {step + 1} of {STEPS}: the " in ending


def test_a_report_that_cannot_be_made_hides_no_fault(
    run: Train, output_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (output_dir / REPORT).mkdir(parents=True)
    with pytest.raises(TrainingFault, match="nothing was stepped"):
        run(**DIVERGING)
    assert "report.html cannot be written" in caplog.text


def test_a_save_that_fails_is_an_end(
    run: Train, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path, _state: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(resume, "save_optimizer", fail)
    with pytest.raises(OSError, match="could not be saved: No space left"):
        run(save_steps=2)
    step, ending, is_finished = the_end(output_dir)
    assert (step, is_finished) == (2, False)
    assert "ckpt-2 could not be saved: No space left" in ending


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (torch.OutOfMemoryError("out of memory\nlong story"), EnvironmentFault, "out of memory ("),
        (KeyError("lost"), KeyError, "KeyError: 'lost'"),
        (RuntimeError("[gloo] Connection closed"), RuntimeError, "another process of the run"),
        (KeyboardInterrupt(), KeyboardInterrupt, "interrupted"),
    ],
)
def test_whatever_ends_a_run_is_told(
    error: BaseException,
    kind: type[BaseException],
    told: str,
    run: Train,
    output_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("s2s_ft.train.step._launch", fail)
    with pytest.raises(kind):
        run()
    step, ending, is_finished = the_end(output_dir)
    assert (step, is_finished) == (0, False)
    assert ending.startswith(told)


def test_a_kill_after_the_last_save_leaves_the_end_to_the_next_start(
    run: Train,
    output_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, signal.SIGTERM)
        assert run() == 128 + signal.SIGTERM
    page = (output_dir / REPORT).read_text(encoding="utf-8")
    assert run() == 0
    # As a kill leaves it that comes once the checkpoint is there.
    lines = (output_dir / SESSIONS).read_text(encoding="utf-8").splitlines(keepends=True)
    (output_dir / SESSIONS).write_text("".join(lines[:-1]), encoding="utf-8")
    (output_dir / REPORT).write_text(page, encoding="utf-8")
    assert checkpoints(output_dir) == {"ckpt-4", f"ckpt-{STEPS}"}

    caplog.clear()
    assert run(keep_checkpoints=1) == 0
    assert f"all {STEPS} updates are done, nothing is left to do" in caplog.text
    assert the_end(output_dir) == (STEPS, "all updates are done", True)
    assert checkpoints(output_dir) == {f"ckpt-{STEPS}"}
    sessions = (output_dir / SESSIONS).read_bytes()
    assert run(keep_checkpoints=1) == 0
    assert (output_dir / SESSIONS).read_bytes() == sessions


def test_a_report_that_is_missing_is_made(run: Train, output_dir: Path) -> None:
    run()
    (output_dir / REPORT).unlink()
    run()
    assert the_end(output_dir) == (STEPS, "all updates are done", True)
