"""What killed builders left is cleared away, and what others build is not."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from s2s_ft.data.construction import clear_abandoned, under_construction


def left_by_a_kill(final: Path) -> set[str]:
    """What a process leaves that gets SIGKILL in the middle of a build."""
    child = os.fork()
    if child == 0:
        with under_construction(final) as folder:
            (folder / "file").write_text("x", encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    return {path.name for path in final.parent.iterdir()}


def test_a_build_leaves_what_it_renamed(tmp_path: Path) -> None:
    final = tmp_path / "features" / "key"
    with under_construction(final) as folder:
        (folder / "file").write_text("x", encoding="utf-8")
        folder.rename(final)
    assert [path.name for path in final.parent.iterdir()] == ["key"]
    with pytest.raises(KeyError), under_construction(final) as folder:
        raise KeyError
    assert [path.name for path in final.parent.iterdir()] == ["key"]


def test_what_killed_builders_left_goes(tmp_path: Path) -> None:
    for tries in (1, 2, 3):
        assert len(left_by_a_kill(tmp_path / "key")) == 2 * tries
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    folder.with_name(f"{folder.name}.damaged").mkdir()
    clear_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []
    clear_abandoned(tmp_path / "nowhere")


def test_what_is_being_built_stays(tmp_path: Path) -> None:
    with under_construction(tmp_path / "key") as folder:
        clear_abandoned(tmp_path)
        assert folder.is_dir()
        clear_abandoned(tmp_path)  # the lock was not let go of by the first look
        assert folder.is_dir()


def test_what_another_machine_began_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock may look free from here."""
    left = left_by_a_kill(tmp_path / "key")
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "another")
        clear_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == left


def test_what_has_another_name_stays(tmp_path: Path) -> None:
    left_by_a_kill(tmp_path / "key")
    lock = next(tmp_path.glob("*.lock"))
    (tmp_path / ".notes.lock").write_text(lock.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / ".notes").mkdir()
    clear_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".notes", ".notes.lock"}
