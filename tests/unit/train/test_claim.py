"""An output folder belongs to one run at a time, and to nobody once its process is gone."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
from pathlib import Path

import pytest

from s2s_ft.cli import EnvironmentFault
from s2s_ft.train.claim import LOCK, claimed


def test_the_second_is_told_who_is_there(tmp_path: Path) -> None:
    output_dir = tmp_path / "deep" / "out"
    with claimed(output_dir):
        told = rf"out is in use by process {os.getpid()} on "
        with pytest.raises(EnvironmentFault, match=told), claimed(output_dir, patience=0.0):
            pass
    with claimed(output_dir, patience=0.0):
        pass
    assert [path.name for path in output_dir.iterdir()] == [LOCK]


def test_a_killed_process_leaves_nothing_to_clean_up(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with claimed(tmp_path):
            os.write(writer, b".")
            signal.pause()
    os.read(reader, 1)
    with pytest.raises(EnvironmentFault, match=f"process {child} "), claimed(tmp_path, patience=0):
        pass
    os.kill(child, signal.SIGKILL)
    with claimed(tmp_path, patience=10.0):
        pass
    os.waitpid(child, 0)


def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with claimed(tmp_path):
        assert "cannot be locked" in caplog.text


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(EnvironmentFault, match=r"--output_dir .* cannot be written"),
        claimed(tmp_path / "file" / "out"),
    ):
        pass


def test_a_disk_that_is_full_is_named_with_a_way_out(tmp_path: Path) -> None:
    """Whose folder can still be opened; the system lets no file grow here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    message = f"^--output_dir {tmp_path} cannot be written: .*too large; make room"
    try:
        with pytest.raises(EnvironmentFault, match=message), claimed(tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
