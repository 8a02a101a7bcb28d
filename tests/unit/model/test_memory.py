"""Freed memory stays with the process once it is told to keep it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from s2s_ft.model import memory

PROGRAM = """
import sys
from pathlib import Path
import torch
from s2s_ft.model.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

torch.ones(1)
tensor = torch.ones(16, 2**20)  # 64 MiB
before = resident_pages()
del tensor
print((before - resident_pages()) * 4096 // 2**20)
"""


def returned_mebibytes(mode: str) -> int:
    """What the kernel gets back when 64 MiB are freed."""
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_freed_memory_is_kept() -> None:
    assert returned_mebibytes("plain") > 50
    assert returned_mebibytes("keep") < 10


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert not memory.keep_freed_memory()
