"""Freed memory stays with the process once it is told to keep it, and no more than is of use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from s2s_ft.model import memory
from s2s_ft.model.memory import KERNEL_STORES

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


MANY_SHAPES = """
import sys
from pathlib import Path
import torch
from s2s_ft.model import memory
from s2s_ft.model.memory import give_back_freed_memory, keep_freed_memory
memory.has_amx = lambda: False  # with it many are kept on purpose
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def resident_mebibytes():
    give_back_freed_memory()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

weight, bias = torch.randn(64, 64), torch.randn(64)
before = 0.0
for rows in range(60, 360):
    if rows == 160:
        before = resident_mebibytes()
    # What a linear layer calls where its products go to oneDNN, whatever the processor.
    torch.ops.mkldnn._linear_pointwise(torch.randn(rows, 64), weight, bias, "none", [], "")
print(resident_mebibytes() - before)
"""


def printed(program: str, mode: str) -> float:
    """The number that a program prints, in a process of its own."""
    surroundings = {name: value for name, value in os.environ.items() if name not in KERNEL_STORES}
    command = [sys.executable, "-c", program, mode]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings)
    return float(done.stdout)


def test_freed_memory_is_kept() -> None:
    """Of 64 MiB."""
    assert printed(PROGRAM, "plain") > 50
    assert printed(PROGRAM, "keep") < 10


def test_products_of_many_shapes_leave_little_behind() -> None:
    assert printed(MANY_SHAPES, "keep") < 20


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of a process whose C library is another and whose environment is empty."""
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    content: dict[str, str] = {}
    monkeypatch.setattr(memory.os, "environ", content)
    return content


@pytest.mark.parametrize("has_amx", [False, True])
def test_other_c_libraries_are_left_alone(
    surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, has_amx: bool
) -> None:
    monkeypatch.setattr(memory, "has_amx", lambda: has_amx)
    assert not memory.keep_freed_memory()
    kept = memory.KERNELS_OF_TILES if has_amx else memory.KERNELS
    assert [surroundings[name] for name in KERNEL_STORES] == [str(kept), str(memory.KERNELS)]


def test_what_the_user_has_set_stands(surroundings: dict[str, str]) -> None:
    surroundings[KERNEL_STORES[0]] = "500"
    memory.keep_freed_memory()
    assert surroundings[KERNEL_STORES[0]] == "500"
