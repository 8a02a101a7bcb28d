"""Behind torch's own launchers: signals, a worker that is killed, the older launcher, SLURM's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.distributed.conftest import Flags, assert_equal
from tests.distributed.ranks import (
    LIMIT_SECONDS,
    ROOT,
    Ended,
    children,
    ended,
    launch,
    together,
    training,
)

LONG = ("--num_training_steps", 120, "--save_steps", 10)
"""Enough updates to come in between."""


def wait_for(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until a checkpoint is there."""
    end = time.monotonic() + LIMIT_SECONDS
    while not folder.exists() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run of two ranks that nothing came in between of."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    found = together(training(flags(folder / "out", *LONG)), 2, folder)
    assert [each.code for each in found] == [0, 0], found
    return folder / "out" / "ckpt-120"


def test_a_killed_worker_is_started_again(flags: Flags, whole: Path, tmp_path: Path) -> None:
    """torchrun starts all workers anew; they go on from the newest checkpoint, exactly."""
    output = tmp_path / "out"
    # A restart by the launcher must not take --overwrite_output_dir for a wish to start anew.
    given = flags(output, *LONG, "--overwrite_output_dir")
    process = launch("torch.distributed.run", 2, given, more=["--max-restarts=1"])
    wait_for(output / "ckpt-30", process)
    os.kill(children(process)[1], signal.SIGKILL)
    found = ended(process)
    assert found.code == 0, found.text
    assert "resuming from" in found.text
    assert_equal(whole, output / "ckpt-120")


def test_a_signal_to_the_launcher(flags: Flags, whole: Path, tmp_path: Path) -> None:
    """SIGTERM to torchrun: the workers save and end; the same command goes on, exactly."""
    output = tmp_path / "out"
    process = launch("torch.distributed.run", 2, flags(output, *LONG))
    wait_for(output / "ckpt-20", process)
    process.send_signal(signal.SIGTERM)
    found = ended(process)
    assert found.code != 0
    assert "stopped by SIGTERM" in found.text
    stopped = max(int(path.name.split("-")[1]) for path in output.glob("ckpt-*"))
    assert f"goes on from update {stopped}" in found.text
    again = together(training(flags(output, *LONG)), 2, tmp_path)
    assert [each.code for each in again] == [0, 0], again
    assert_equal(whole, output / "ckpt-120")


@pytest.mark.parametrize("more", [[], ["--use-env"]])
def test_the_older_launcher(more: list[str], flags: Flags, tmp_path: Path) -> None:
    output = tmp_path / "out"
    found = ended(launch("torch.distributed.launch", 2, flags(output), more=more))
    assert found.code == 0, found.text
    assert "2 processes" in found.text
    assert (output / "ckpt-9" / "model.safetensors").exists()


def start_node(given: list[object], number: int) -> subprocess.Popen[str]:
    """SLURM's share of a node, on this machine."""
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PROCESSES_PER_NODE": "2",
        "OMP_NUM_THREADS": "1",
        "SLURM_JOB_ID": str(number),
    }
    command = ["scripts/slurm/node.sh", *map(str, given)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment)


def test_the_end_of_a_slot(flags: Flags, whole: Path, tmp_path: Path) -> None:
    """SIGUSR1 to a node of SLURM: saved, exit code 138, and nothing is started again."""
    output = tmp_path / "out"
    process = start_node(flags(output, *LONG), 1)
    wait_for(output / "ckpt-20", process)
    process.send_signal(signal.SIGUSR1)
    found: Ended = ended(process)
    assert found.code == 128 + signal.SIGUSR1, found.text
    assert "stopped by SIGUSR1" in found.text
    stopped = max(int(path.name.split("-")[1]) for path in output.glob("ckpt-*"))
    assert stopped < 120
    done = ended(start_node(flags(output, *LONG), 2))
    assert done.code == 0, done.text
    assert_equal(whole, output / "ckpt-120")
