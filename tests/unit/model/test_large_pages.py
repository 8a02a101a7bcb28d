"""Tensors come to lie in large pages where the system has any, and nowhere is anything broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from s2s_ft.model import large_pages
from s2s_ft.model.large_pages import use_large_pages

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")

PROGRAM = """
import re, resource, sys
from pathlib import Path
import torch
from s2s_ft.model.large_pages import use_large_pages
from s2s_ft.model.memory import give_back_freed_memory, keep_freed_memory

def mebibytes(name):
    sizes = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(name + r":\\s+(\\d+) kB", sizes)[1]) // 1024

torch.ones(1)
if "limited" in sys.argv:
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
assert keep_freed_memory()
before = mebibytes("Rss")
asked = use_large_pages()
assert mebibytes("Rss") - before < 16  # addresses, no memory
tensor = torch.ones(16, 2**20)
first = mebibytes("AnonHugePages")
del tensor
if "cut" in sys.argv:
    give_back_freed_memory()
    assert mebibytes("AnonHugePages") < 16
    asked = asked and use_large_pages()
tensor = torch.ones(16, 2**20)
print(int(asked), min(first, mebibytes("AnonHugePages")))
"""


def outcome(*modes: str) -> list[int]:
    """Whether large pages were asked for, and how many MiB there were for 64, in a new process."""
    command = [sys.executable, "-c", PROGRAM, *modes]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def are_granted() -> bool:
    if not use_large_pages() or not SWITCH.exists():
        return False
    return "[never]" not in SWITCH.read_text(encoding="ascii")


@pytest.mark.skipif(not are_granted(), reason="this system grants no large pages")
@pytest.mark.parametrize("modes", [(), ("cut",)], ids=["at first", "after memory was given back"])
def test_tensors_lie_in_them(modes: tuple[str, ...]) -> None:
    asked, mebibytes = outcome(*modes)
    assert asked
    assert mebibytes > 55


def test_where_addresses_are_limited_none_are_reserved() -> None:
    assert outcome("limited")[0] == 0


def test_strict_accounting_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pages.resource, "getrlimit", lambda _limit: (-1, -1))
    for kind, limited in (("0\n", False), ("1\n", False), ("2\n", True)):
        (tmp_path / "accounting").write_text(kind)
        monkeypatch.setattr(large_pages, "Path", lambda _name: tmp_path / "accounting")
        assert large_pages._addresses_are_limited() is limited


def test_more_than_there_are_addresses_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pages.os, "sysconf", lambda _name: 2**30)
    monkeypatch.setattr(large_pages, "RESERVED_BYTES", 2**59)
    assert not use_large_pages()
    assert float(torch.ones(3).sum()) == 3


def test_other_c_libraries_and_pages_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pages.ctypes, "CDLL", lambda _name: pytest.fail("it is asked"))
    with monkeypatch.context() as other:
        other.setattr(large_pages.platform, "libc_ver", lambda: ("", ""))
        assert not use_large_pages()
    monkeypatch.setattr(large_pages.mmap, "PAGESIZE", 2**16)
    assert not use_large_pages()
