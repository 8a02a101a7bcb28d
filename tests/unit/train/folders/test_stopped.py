"""A save or removal that is stopped anywhere, by a kill or a power cut, loses no whole copy.

Notable: a stop is tried before every single operation on the file system. Python tells of them
through its audit hooks, and from the chosen one on everything fails, as for a process that is gone.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from s2s_ft.storage import syncing
from s2s_ft.storage.checkpoint_record import find_fault
from s2s_ft.train.folders import commit, make_folder, put_right, remove
from tests.unit.train.folders.small import FILES, NAMES, record, writing


class Gone(BaseException):
    """The process is no more."""


class Stop:
    """Counts operations on files below a folder, and lets nothing happen from a chosen one on."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.left = 0
        self.count = 0
        self.thread = 0

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.folder is None or threading.get_ident() != self.thread:
            return
        if event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod"):
            return
        if not str(arguments[0]).startswith(self.folder) and event == "open":
            return
        self.count += 1
        if self.count > self.left:
            raise Gone

    @contextmanager
    def after(self, operations: int, folder: Path) -> Iterator[None]:
        self.folder, self.left, self.count = str(folder), operations, 0
        self.thread = threading.get_ident()
        try:
            yield
        finally:
            self.folder = None


STOP = Stop()
sys.addaudithook(STOP.hear)


def save_anew(parent: Path) -> None:
    commit(parent / "ckpt-5", writing("new"), record(5))


def replace_best(parent: Path) -> None:
    commit(parent / "best", writing("new"), record(9))


def take_away(parent: Path) -> None:
    remove(parent / "ckpt-5")


def stopped_anywhere(
    act: Callable[[Path], None],
    name: str,
    folder: Path,
    before: Callable[[Path], None] = lambda _checkpoint: None,
) -> Iterator[Path]:
    """Folders with a checkpoint in which `act` was stopped after 0, 1, 2, … operations; in the last
    one it came to its end. What comes `before` is done to the checkpoint.
    """
    for operations in range(1000):
        parent = folder / str(operations)
        parent.mkdir()
        commit(parent / name, writing("old"), record(5))
        before(parent / name)
        stopped = True
        with STOP.after(operations, parent):
            try:
                act(parent)
                stopped = False
            except Gone:
                pass
        yield parent
        if not stopped:
            return


@pytest.mark.parametrize("act", [save_anew, replace_best])
def test_a_stop_anywhere_leaves_a_whole_copy(act: Callable[[Path], None], tmp_path: Path) -> None:
    """Even while a folder replaces one that has its name, the old or the new one is found again."""
    name = "ckpt-5" if act is save_anew else "best"
    found = []
    for parent in stopped_anywhere(act, name, tmp_path):
        put_right(parent, NAMES)
        assert [path.name for path in parent.iterdir()] == [name]
        assert find_fault(parent / name) is None
        found.append((parent / name / "config.json").read_text(encoding="utf-8"))
    assert len(found) > 21
    assert set(found) == {"old", "new"}


def add_notes(folder: Path) -> None:
    for name in ("notes", "sub/notes"):
        (folder / name).write_text("mine", encoding="utf-8")


def make_it_a_strangers(folder: Path) -> None:
    """Not a checkpoint at all; one of its files has the name of one."""
    shutil.rmtree(folder)
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("mine", encoding="utf-8")
    add_notes(folder)


@pytest.mark.parametrize("before", [add_notes, make_it_a_strangers])
def test_a_stop_anywhere_leaves_what_others_put_there(
    before: Callable[[Path], None], tmp_path: Path
) -> None:
    for parent in stopped_anywhere(replace_best, "best", tmp_path, before):
        put_right(parent, NAMES)
        (best,) = parent.iterdir()
        files = [path for path in best.rglob("*") if path.is_file()]
        texts = {path.relative_to(best).as_posix(): path.read_bytes() for path in files}
        mine = {name for name, text in texts.items() if text == b"mine"}
        named = {"config.json", "config.json.old"} & mine
        assert mine - named == {"notes", "sub/notes"}
        assert len(named) == (before is make_it_a_strangers)
        assert texts.keys() - mine <= {*FILES}, "no part of the one before is left"
    assert find_fault(best) is None
    assert texts["config.json"] == b"new"


def test_a_stop_anywhere_in_a_first_save_leaves_the_earlier_one(tmp_path: Path) -> None:
    for parent in stopped_anywhere(save_anew, "ckpt-1", tmp_path):
        put_right(parent, NAMES)
        names = sorted(path.name for path in parent.iterdir())
        assert names in (["ckpt-1"], ["ckpt-1", "ckpt-5"])
        assert all(find_fault(parent / name) is None for name in names)
    assert names == ["ckpt-1", "ckpt-5"]


def test_a_stop_anywhere_in_a_removal_leaves_no_part_that_looks_whole(tmp_path: Path) -> None:
    tried = 0
    for parent in stopped_anywhere(take_away, "ckpt-5", tmp_path):
        if (parent / "ckpt-5").exists():
            assert find_fault(parent / "ckpt-5") is None
        put_right(parent, NAMES)
        assert [path.name for path in parent.iterdir()] in ([], ["ckpt-5"])
        tried += 1
    assert tried > 6
    assert list(parent.iterdir()) == []


def test_kills_at_random_instants_of_saving(tmp_path: Path) -> None:
    """A process that saves again and again, in turns under two names, gets SIGKILL."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    choice = random.Random(seed)
    for _ in range(25):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            for number in range(10**6):
                name = ("ckpt-5", "best")[number % 2]
                commit(tmp_path / name, writing(str(number)), record(5))
                os.write(writer, b".")
        os.close(writer)
        assert os.read(reader, 1) + os.read(reader, 1) == b".."  # both have been committed
        time.sleep(0.01 * choice.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        put_right(tmp_path, NAMES)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "ckpt-5"]
        assert find_fault(tmp_path / "best") is None
        assert find_fault(tmp_path / "ckpt-5") is None


# ------------------------------------------------------------------ a power cut


def test_the_disk_knows_each_part_before_the_next_depends_on_it(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file is synced before the rename, the names after it, and only then the old one
    goes.
    """
    log: list[tuple[str, str]] = []
    sync, rename, rmtree = syncing.sync, Path.rename, shutil.rmtree

    def note(what: str, path: Path) -> None:
        log.append((what, path.relative_to(saved.parent).as_posix()))

    monkeypatch.setattr(syncing, "sync", lambda path: (note("sync", path), sync(path)))
    monkeypatch.setattr(
        Path, "rename", lambda path, new: (note("rename", path), rename(path, new))[1]
    )
    monkeypatch.setattr(
        shutil, "rmtree", lambda path, **kind: (note("delete", path), rmtree(path, **kind))
    )
    save_anew(saved.parent)
    renamed = log.index(("rename", "ckpt-5.tmp"))
    before, after = log[:renamed], log[renamed + 1 :]
    paths = {"ckpt-5.tmp", "ckpt-5.tmp/sub", *(f"ckpt-5.tmp/{name}" for name in FILES)}
    assert {path for what, path in before if what == "sync"} == paths
    assert before[-1] == ("rename", "ckpt-5")
    assert after == [
        ("sync", "."),
        ("rename", "ckpt-5.old"),
        ("sync", "."),
        ("delete", "ckpt-5.removed"),
    ]
    log.clear()
    remove(saved)
    assert log == [("rename", "ckpt-5"), ("sync", "."), ("delete", "ckpt-5.removed")]


def test_a_new_folder_is_known_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(syncing, "sync", synced.append)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]


def test_a_file_system_that_cannot_sync_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def refuse(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    save_anew(tmp_path)
    assert find_fault(tmp_path / "ckpt-5") is None
