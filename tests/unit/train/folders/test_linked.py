"""Checkpoints that were moved to another disk and linked back; leftovers that cannot be deleted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from s2s_ft.train.folders import commit, find_fault, put_right, remove
from tests.unit.train.folders.small import NAMES, record, writing


@pytest.fixture
def elsewhere(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the checkpoint was moved to; it is a link now."""
    folder = tmp_path_factory.mktemp("disk") / "moved"
    shutil.move(saved, folder)
    saved.symlink_to(folder)
    return folder


def names(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.iterdir())


def test_a_link_is_removed_and_its_folder_stays(saved: Path, elsewhere: Path) -> None:
    remove(saved)
    assert names(saved.parent) == []
    assert find_fault(elsewhere) is None


def test_a_link_makes_way_for_a_save(saved: Path, elsewhere: Path) -> None:
    for content in ("new", "newer"):
        commit(saved, writing(content), record(5))
        assert names(saved.parent) == ["ckpt-5"]
        assert (saved / "config.json").read_text(encoding="utf-8") == content
    assert (elsewhere / "config.json").read_text(encoding="utf-8") == "old"


def test_a_link_to_nowhere_makes_way_too(saved: Path, elsewhere: Path) -> None:
    shutil.rmtree(elsewhere)
    commit(saved, writing("new"), record(5))
    assert names(saved.parent) == ["ckpt-5"]
    assert find_fault(saved) is None


@pytest.mark.parametrize("suffix", [".tmp", ".old", ".removed"])
@pytest.mark.parametrize("is_there", [True, False])
def test_links_are_left_over(suffix: str, is_there: bool, saved: Path, elsewhere: Path) -> None:
    """As an earlier version left them, whose every start they ended."""
    saved.rename(saved.with_name(f"ckpt-5{suffix}"))
    commit(saved, writing("new"), record(5))
    saved.with_name(f"ckpt-5{suffix}").unlink(missing_ok=True)
    saved.with_name(f"ckpt-5{suffix}").symlink_to(elsewhere if is_there else "nowhere")
    put_right(saved.parent, NAMES)
    assert names(saved.parent) == ["ckpt-5"]
    assert find_fault(elsewhere) is None


def test_a_link_that_is_the_only_whole_copy_is_kept(saved: Path, elsewhere: Path) -> None:
    saved.rename(saved.with_name("ckpt-5.old"))
    put_right(saved.parent, NAMES)
    assert names(saved.parent) == ["ckpt-5"]
    assert saved.resolve() == elsewhere
    assert find_fault(saved) is None


def test_a_leftover_that_cannot_be_deleted_is_told_about(
    saved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    leftover = saved.with_name("ckpt-5.removed")
    leftover.mkdir()
    (leftover / "file").write_text("x", encoding="utf-8")
    unlink = os.unlink

    def fail(path: str, **where: int) -> None:
        if "file" in str(path):
            raise PermissionError(13, "Permission denied", path)
        unlink(path, **where)

    monkeypatch.setattr(os, "unlink", fail)
    put_right(saved.parent, NAMES)
    assert "ckpt-5.removed could not be removed: Permission denied" in caplog.text
    assert find_fault(saved) is None
