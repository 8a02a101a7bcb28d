"""The console, the report and what an earlier run left."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from s2s_ft.options.train import CheckpointOptions
from s2s_ft.train.distributed import World
from s2s_ft.train.lines import OPTIONS, REPORT, SESSIONS, write_json
from s2s_ft.train.logs import remove_logs
from tests.unit.train.logs.told import SCHEDULE, found, lines, open_log, report


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
    release = torch.__version__.partition("+")[0]  # what packages of PyPI say without the build
    assert start["versions"]["torch"].partition("+")[0] == release
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


def test_lines_that_nobody_understands_fail_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def misunderstand(_: Path) -> Path:
        raise KeyError("time")

    monkeypatch.setattr("s2s_ft.train.logs.write_report", misunderstand)
    with open_log(tmp_path) as log:
        log.end("all updates are done", finished=True)
    assert "report.html cannot be written (KeyError: 'time')" in caplog.text
    assert lines(tmp_path, SESSIONS)[-1]["finished"] is True


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
