"""Where compiled kernels are kept, and what happens where there can be none."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from s2s_ft.model.native import library, trial
from s2s_ft.model.native.library import load_library

pytestmark = pytest.mark.skipif(not trial.is_available(), reason="no C compiler here")


LOAD = (
    "import torch; from s2s_ft.model.native.library import load_library; "
    "assert load_library() is not None"
)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, where libraries come to lie."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "s2s_ft"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_built_once(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(load_library(), ctypes.CDLL)
    (name,) = files(kept)
    assert name.startswith("attention-")
    assert name.endswith(".so")
    written = (kept / name).stat().st_mtime_ns
    monkeypatch.setenv("PATH", "")  # no compiler any more
    assert isinstance(load_library(), ctypes.CDLL)
    assert (kept / name).stat().st_mtime_ns == written


def test_another_processor_has_a_library_of_its_own(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_library()
    monkeypatch.setattr(library, "_processor", lambda: "another")
    load_library()
    assert len(files(kept)) == 2


def test_it_can_be_switched_off(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2S_FT_NATIVE", "0")
    assert load_library() is None
    assert not kept.exists()


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler"])
def test_a_compiler_that_fails_leaves_nothing_behind(
    kept: Path, compiler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert load_library() is None
    assert files(kept) == []


def test_without_a_compiler_there_is_none(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=library.logger.name)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load_library() is None
    assert (
        "cannot be compiled here (no C compiler: neither gcc nor cc is on the path)" in caplog.text
    )
    assert files(kept) == []


def test_a_folder_that_others_write_to_is_not_trusted(kept: Path) -> None:
    kept.mkdir(parents=True)
    kept.chmod(0o777)
    assert isinstance(load_library(), ctypes.CDLL)  # built for this process alone
    assert files(kept) == []


def test_a_place_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert isinstance(load_library(), ctypes.CDLL)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_a_block_of_zeros(content: bytes) -> bytes:
    return content[:12288] + bytes(4096) + content[16384:]


@pytest.mark.parametrize(
    "damage", [lambda _: b"no library", lambda _: b"", cut, with_a_block_of_zeros]
)
def test_a_damaged_library_is_built_anew(kept: Path, damage: Callable[[bytes], bytes]) -> None:
    """A process of its own, since the loader ends one that loads half a library."""
    subprocess.run([sys.executable, "-c", LOAD], check=True)
    (name,) = files(kept)
    whole = (kept / name).read_bytes()
    (kept / name).unlink()
    (kept / name).write_bytes(damage(whole))
    subprocess.run([sys.executable, "-c", LOAD], check=True)
    assert (kept / name).read_bytes() == whole


def test_one_that_is_wrong_is_not_kept(kept: Path) -> None:
    found = load_library()
    assert found is not None
    library.discard(found)
    library.discard(found)
    assert files(kept) == []


def test_a_folder_that_nothing_can_be_added_to_is_read(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_library()
    (name,) = files(kept)
    monkeypatch.setattr(library, "_build", lambda *_: pytest.fail("built again"))
    found = load_library()
    assert found is not None
    assert found._name == str(kept / name)


def test_where_a_folder_runs_nothing_it_is_built_for_this_process(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_library()
    (name,) = files(kept)
    load = ctypes.CDLL

    def refused(path: str) -> ctypes.CDLL:
        if path == str(kept / name):
            raise OSError("failed to map segment from shared object")
        return load(path)

    monkeypatch.setattr(library.ctypes, "CDLL", refused)
    assert load_library() is not None
    assert files(kept) == [name]


def test_without_a_home_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")  # which has to be absolute
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert load_library() is not None
    assert list(tmp_path.iterdir()) == []


def compiler_that(says: bytes, then: str, folder: Path) -> str:
    script = folder / "compiler"
    script.write_bytes(b"#!/bin/sh\nprintf '" + says + b"'\n" + then.encode() + b"\n")
    script.chmod(0o700)
    return str(script)


def test_a_compiler_may_print_what_it_likes(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler_that(rb"Warnung: f\374r\n", 'exec gcc "$@"', tmp_path))
    assert load_library() is not None
    strange = tmp_path / os.fsdecode(b"pr\xe9")
    strange.mkdir()
    monkeypatch.setenv("CC", compiler_that(b"", 'exec gcc "$@"', strange))
    assert load_library() is not None
    assert len(files(kept)) == 2


def test_the_cause_is_told_and_not_the_place(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=library.logger.name)
    output = (
        rb"In file included from a.c:21:\nx.h:4:10: fatal error: no room on \351\n  4 | #include\n"
    )
    monkeypatch.setenv("CC", compiler_that(output, "exit 1", tmp_path))
    assert load_library() is None
    assert "failed: x.h:4:10: fatal error: no room on" in caplog.text
    assert files(kept) == []


def test_several_processes_may_build_it_at_once(kept: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", LOAD]) for _ in range(3)]
    assert [process.wait(timeout=300) for process in started] == [0, 0, 0]
    assert len(files(kept)) == 1


def wrong_gradient(result: torch.Tensor) -> torch.Tensor:
    result.register_hook(lambda gradient: gradient * torch.nan)  # type: ignore[no-untyped-call]
    return result


@pytest.mark.parametrize("wrong", [lambda result: result * 1.001, wrong_gradient])
def test_a_kernel_that_computes_something_else_is_left_aside(
    wrong: Callable[[torch.Tensor], torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real, discarded = trial.attend, list[ctypes.CDLL | None]()
    monkeypatch.setattr(trial, "discard", discarded.append)
    monkeypatch.setattr(trial, "attend", lambda *rows, **rest: wrong(real(*rows, **rest)))
    trial.is_available.cache_clear()
    try:
        assert not trial.takes(torch.float32)
    finally:
        trial.is_available.cache_clear()
    assert "left aside" in caplog.text
    assert discarded == [trial.kernel()]


def test_it_runs_in_torchs_own_threads(kept: Path) -> None:
    load_library()
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
    names = ("libgomp", "libiomp", "libomp")
    openmp = {
        os.path.realpath(parts[5])
        for line in mapped.splitlines()
        if len(parts := line.split(maxsplit=5)) == 6 and Path(parts[5]).name.startswith(names)
    }
    assert len([path for path in openmp if "/torch/" in path]) == 1
    assert len([path for path in openmp if "/torch/" not in path]) == 0
