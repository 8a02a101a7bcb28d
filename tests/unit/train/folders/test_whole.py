"""Folders that are written whole or not at all: whatever is damaged, full or left over."""

from __future__ import annotations

import errno
import json
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from s2s_ft.storage.checkpoint_record import RECORD, find_fault, read_record
from s2s_ft.train.folders import commit, put_right
from tests.unit.train.folders.small import FILES, NAMES, record, writing


def test_a_folder_holds_what_was_written_and_its_checksums(saved: Path) -> None:
    found = read_record(saved)
    assert found["step"] == 5
    assert set(found["files"]) == {"model.safetensors", "config.json", "sub/more.txt"}
    assert found["files"]["config.json"]["size"] == 3
    assert find_fault(saved) is None
    modes = {path.stat().st_mode & 0o777 for path in saved.rglob("*.*")}
    assert modes == {saved.stat().st_mode & 0o666}
    assert [path.name for path in saved.parent.iterdir()] == ["ckpt-5"]


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, empty, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_damage_to_any_file_is_found(
    name: str, damage: Callable[[Path], None], saved: Path
) -> None:
    damage(saved / name)
    assert Path(name).name in str(find_fault(saved))


@pytest.mark.parametrize("name", FILES)
def test_any_bit_that_flips_is_found(name: str, saved: Path) -> None:
    """In the record, too: a flipped bit of a number leaves JSON that reads as if nothing were."""
    path, choice = saved / name, random.Random(3)
    content = path.read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << choice.randrange(8)
        path.write_bytes(flipped)
        assert Path(name).name in str(find_fault(saved)), place


def test_what_another_version_wrote_is_whole(saved: Path) -> None:
    """Format 1 had no seal; that it cannot be gone on with is for others to say."""
    old = read_record(saved)
    del old["seal"]
    (saved / RECORD).write_text(json.dumps({**old, "format": 1}), encoding="utf-8")
    assert find_fault(saved) is None
    (saved / RECORD).write_text(json.dumps(old), encoding="utf-8")
    assert RECORD in str(find_fault(saved))


@pytest.mark.parametrize(
    "text", ["[]", "7", '"seal"', "{}", '{"format": 2, "seal": 3}', "[" * 9**5]
)
def test_a_record_that_is_none(text: str, saved: Path) -> None:
    (saved / RECORD).write_text(text, encoding="utf-8")
    assert RECORD in str(find_fault(saved))


# ------------------------------------------------------------------ a save that fails


def full(folder: Path) -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", str(folder))


def as_rust_says_it(_folder: Path) -> Exception:
    return Exception("No space left on device (os error 28)")


@pytest.mark.parametrize("fault", [full, as_rust_says_it])
def test_a_failing_save_leaves_what_was_there(
    fault: Callable[[Path], Exception], saved: Path
) -> None:
    def fail(folder: Path) -> None:
        writing("new")(folder)
        raise fault(folder)

    for name in ("ckpt-5", "ckpt-20"):
        message = f"{name} could not be saved: No space left on device.*untouched"
        with pytest.raises(OSError, match=message):
            commit(saved.parent / name, fail, record(20))
    assert [path.name for path in saved.parent.iterdir()] == ["ckpt-5"]
    assert find_fault(saved) is None


def test_a_failing_rename_leaves_what_was_there(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fail(path: Path, new: Path) -> Path:
        if path.suffix == ".tmp":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, new)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output error"):
        commit(saved, writing("new"), record(5))
    assert [path.name for path in saved.parent.iterdir()] == ["ckpt-5"]
    assert (saved / "config.json").read_text(encoding="utf-8") == "old"


def test_a_fault_of_ours_is_not_taken_for_one_of_the_disk(tmp_path: Path) -> None:
    def fail(_folder: Path) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        commit(tmp_path / "ckpt-5", fail, record(5))


def test_a_file_that_cannot_grow(saved: Path) -> None:
    """A real failure of the system in the middle of the largest file, as on a full disk."""

    def write(folder: Path) -> None:
        save_file({"weight": torch.zeros(1 << 20)}, folder / "model.safetensors")

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(OSError, match=r"ckpt-20 could not be saved: .*too large"):
            commit(saved.parent / "ckpt-20", write, record(20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in saved.parent.iterdir()] == ["ckpt-5"]


# ------------------------------------------------------------------ what is not ours


def test_what_others_put_there_stays_through_every_save(saved: Path) -> None:
    (saved / "decoded").mkdir()
    (saved / "decoded" / "test.txt").write_text("hours of work", encoding="utf-8")
    for content in ("new", "newer"):
        commit(saved, writing(content), record(5))
        assert (saved / "decoded" / "test.txt").read_text(encoding="utf-8") == "hours of work"
        assert find_fault(saved) is None
        assert "decoded/test.txt" not in read_record(saved)["files"]


def test_a_file_in_the_place_of_a_checkpoint_stays(tmp_path: Path) -> None:
    (tmp_path / "best").write_text("mine", encoding="utf-8")
    commit(tmp_path / "best", writing("new"), record(5))
    assert (tmp_path / "best" / "best").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("text", ["[]", "{", "{}"])
def test_nothing_of_a_damaged_checkpoint_stays(text: str, saved: Path) -> None:
    (saved / RECORD).write_text(text, encoding="utf-8")
    commit(saved, writing("new"), record(5))
    assert {path.name for path in saved.rglob("*.*")} == {Path(name).name for name in FILES}


# ------------------------------------------------------------------ what is put right


@pytest.mark.parametrize("suffix", [".tmp", ".old"])
def test_the_only_whole_copy_is_found(suffix: str, saved: Path) -> None:
    saved.rename(saved.with_name(f"ckpt-5{suffix}"))
    put_right(saved.parent, NAMES)
    assert find_fault(saved) is None


@pytest.mark.parametrize("suffix", [".tmp", ".old"])
def test_a_whole_copy_replaces_a_damaged_one(suffix: str, saved: Path) -> None:
    shutil.copytree(saved, saved.with_name(f"ckpt-5{suffix}"))
    empty(saved / "config.json")
    put_right(saved.parent, NAMES)
    assert find_fault(saved) is None
    assert [path.name for path in saved.parent.iterdir()] == ["ckpt-5"]


def test_what_is_not_ours_is_left_alone(saved: Path) -> None:
    for name in ("notes.old", "ckpt-5.old.txt", "ckpt-x.tmp", "ckpt-5.removed"):
        shutil.copytree(saved, saved.with_name(name))
    (saved.parent / "ckpt-7.tmp").write_text("a file", encoding="utf-8")
    put_right(saved.parent, NAMES)
    left = {path.name for path in saved.parent.iterdir()}
    assert left == {"ckpt-5", "notes.old", "ckpt-5.old.txt", "ckpt-x.tmp", "ckpt-7.tmp"}
