"""The search for the largest batch, what a CPU has left, and what out-of-memory errors become."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from s2s_ft.cli import EnvironmentFault
from s2s_ft.model.memory import is_out_of_memory
from s2s_ft.options import TrainOptions, build
from s2s_ft.train import memory
from s2s_ft.train.memory import (
    available_memory,
    explained,
    largest_batch_size,
    optimizer_bytes,
)

ROOT = Path(__file__).parents[3]
CPU, OTHER = torch.device("cpu"), torch.device("meta")  # any device that is no CPU is asked


class Device:
    """Holds passes of up to so many examples."""

    def __init__(self, room: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.room = room
        self.error = error
        self.tried: list[int] = []

    def __call__(self, size: int) -> None:
        self.tried.append(size)
        if size > self.room:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")


@pytest.mark.parametrize(
    ("room", "first", "most", "found", "tried"),
    [
        (100, 8, 64, 64, [8, 16, 32, 64]),
        (40, 8, 64, 32, [8, 16, 32, 64]),
        (100, 8, 50, 50, [8, 16, 32, 50]),
        (8, 8, 64, 8, [8, 16]),
        (5, 8, 64, 4, [8, 4]),
        (1, 8, 64, 1, [8, 4, 2, 1]),
        (100, 80, 64, 64, [64]),
        (100, 1, 1, 1, [1]),
        (2, 7, 64, 1, [7, 3, 1]),
    ],
)
def test_a_device_is_tried_by_doubling_and_halving(
    room: int, first: int, most: int, found: int, tried: list[int]
) -> None:
    device = Device(room)
    assert largest_batch_size(device, first, most, device=OTHER) == found
    assert device.tried == tried


def test_not_even_one_example() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        largest_batch_size(Device(0), 4, 8, device=OTHER)


def test_other_errors_of_a_pass_are_not_taken_for_want_of_memory() -> None:
    def fail(_size: int) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        largest_batch_size(fail, 4, 8, device=OTHER)


# In a process of its own: what other tests' heaps and threads do there would be measured, too.
TRIALS = """
import torch
from s2s_ft.train import memory

MIB = 2**20
for available, reserved in ((200, 0), (420, 0), (420, 200), (10**6, 0)):
    memory.available_memory = lambda: available * MIB
    sizes = []

    def try_pass(size):
        sizes.append(size)
        assert torch.ones(size * 32 * MIB // 4).sum() > 0

    device = torch.device("cpu")
    size = memory.largest_batch_size(try_pass, 64, 11, device=device, reserved=reserved * MIB)
    print(size, max(sizes))
"""


def test_a_cpu_is_not_brought_to_its_limit() -> None:
    """Each example takes 32 MiB; four fifths of what is available may be taken."""
    done = subprocess.run(
        [sys.executable, "-c", TRIALS], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == ["4 4", "8 8", "4 4", "11 11"]


def test_available_memory_is_less_than_the_machine_has() -> None:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    total = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal")) * 1024
    assert 0 < available_memory() < total


def test_a_system_that_is_not_linux_does_not_tell(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"--auto_batch_size: this system does not say"):
        available_memory(tmp_path)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")


def test_containers_limit_what_is_left(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/jobs/one\n")
    groups = tmp_path / "sys/fs/cgroup"
    write(groups / "jobs/memory.max", "1000\n")
    write(groups / "jobs/memory.current", "700\n")
    write(groups / "jobs/memory.stat", "anon 5\ninactive_file 100\n")
    write(groups / "jobs/one/memory.max", "max\n")
    write(groups / "jobs/one/memory.current", "300\n")
    assert memory._left_by_control_groups(tmp_path) == [400]


def test_older_containers_limit_too(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "5:cpu:/x\n4:memory:/jobs/one\n0::/\n")
    group = tmp_path / "sys/fs/cgroup/memory"  # a container sees its own group at the top
    write(group / "memory.limit_in_bytes", "900")
    write(group / "memory.usage_in_bytes", "800")
    write(group / "memory.stat", "inactive_file 1\ntotal_inactive_file 50\n")
    assert memory._left_by_control_groups(tmp_path) == [150]
    assert memory._left_by_control_groups(tmp_path / "nowhere") == []


def test_optimizer_keeps_two_moments_of_what_is_trained() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    model[0].weight.requires_grad = False
    assert optimizer_bytes(model) == 2 * 4 * (4 + 20 + 5)


def options(**values: Any) -> TrainOptions:
    required = {"train_file": "a.jsonl", "model_name_or_path": "encoder", "output_dir": "out"}
    return build(TrainOptions, {**required, **values})


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: not enough memory"),
    RuntimeError("CUDA error: out of memory"),
    MemoryError("Unable to allocate 3.2 GiB"),
    RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasGemmEx(handle, opa, opb)`"
    ),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_out_of_memory_says_what_to_lower(error: Exception) -> None:
    assert is_out_of_memory(error)
    given = options(max_source_seq_length=300)
    with pytest.raises(EnvironmentFault) as caught, explained(given, 12):
        raise error
    text = str(caught.value)
    assert str(error).split("\n")[0] in text
    assert "\n" not in text
    for words in (
        "--per_gpu_train_batch_size (12 now)",
        "give --max_tokens_per_batch",
        "give --gradient_checkpointing",
        "--max_source_seq_length (300 now)",
    ):
        assert words in text


def test_what_is_already_done_is_not_advised() -> None:
    given = options(max_tokens_per_batch=4096, gradient_checkpointing=True)
    with pytest.raises(EnvironmentFault) as caught, explained(given, 12):
        raise ERRORS[0]
    assert "lower --max_tokens_per_batch (4096 now)" in str(caught.value)
    assert "--gradient_checkpointing" not in str(caught.value)
    with pytest.raises(EnvironmentFault) as caught, explained(given, 1):
        raise ERRORS[0]
    assert "--per_gpu_train_batch_size" not in str(caught.value)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes") as caught, explained(options(), 1):
        raise RuntimeError("shapes do not fit")
    assert not isinstance(caught.value, EnvironmentFault)


def test_a_real_error_of_a_cpu_is_recognised() -> None:
    with pytest.raises(EnvironmentFault, match="out of memory"), explained(options(), 1):
        torch.empty(2**60, dtype=torch.uint8)
