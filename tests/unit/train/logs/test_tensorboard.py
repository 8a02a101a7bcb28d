"""TensorBoard's file: on the disk at each save, one a start, and no reason for a run to end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import pytest

from s2s_ft.options.train import CheckpointOptions
from s2s_ft.train.lines import SESSIONS
from s2s_ft.train.places import Places
from s2s_ft.train.tensorboard import TensorBoard
from tests.unit.train.logs.told import events, lines, open_log, report

FULL = "/dev/full"
"""What is written there finds no space left on the device."""


def told(folder: Path) -> set[tuple[str, int]]:
    return {(value.tag, event.step) for event in events(folder) for value in event.summary.value}


def full_disk(_: str) -> IO[bytes]:
    return Path(FULL).open("wb")


@pytest.mark.skipif(not os.path.exists(FULL), reason="there is no device that is always full")
def test_a_full_disk_costs_the_curves_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a writing thread the run would wait for ever at about the eleventh number."""
    monkeypatch.setattr("tensorboardX.record_writer.open_file", full_disk)
    with open_log(tmp_path, options={"logging_steps": 1}) as log:
        for step in range(1, 9):
            log.update(report(step, 4.0))
            log.flush()
    assert len(lines(tmp_path)) == 8
    (warning,) = [each for each in caplog.messages if "TensorBoard" in each]
    assert "No space left on device" in warning
    assert "metrics.jsonl has every number" in warning


def test_what_was_told_before_a_save_is_on_the_disk(tmp_path: Path) -> None:
    """Read while the file is open, as if the process were killed there."""
    board = TensorBoard(tmp_path, first_step=0)
    board.scalar("train/loss", 4.0, 20)
    board.flush()
    assert told(tmp_path) == {("train/loss", 20)}


def test_starts_in_the_same_second_have_files_of_their_own(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        board = TensorBoard(tmp_path, first_step=step - 1)
        board.scalar("train/loss", 4.0, step)
        board.close()
    assert told(tmp_path) == {("train/loss", step) for step in (1, 2, 3)}
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert starts == [1, 2, 3]


@pytest.mark.skipif(not os.path.exists(FULL), reason="there is no device that is always full")
def test_numbers_that_cannot_be_written_name_their_file(tmp_path: Path) -> None:
    places = Places(CheckpointOptions(output_dir=str(tmp_path)), first_step=0, last_look=None)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to(FULL)
    places._metrics.close()
    places._metrics = (tmp_path / "metrics.jsonl").open("a", encoding="utf-8")
    message = r"metrics.jsonl cannot be written: No space left on device; the same command goes on"
    with pytest.raises(OSError, match=message):
        places.tell({"step": 1}, "train", {"loss": 4.0})
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / SESSIONS).symlink_to(FULL)
    message = r"sessions.jsonl cannot be written: No space left on device; the same command goes on"
    with pytest.raises(OSError, match=message):
        open_log(tmp_path)
