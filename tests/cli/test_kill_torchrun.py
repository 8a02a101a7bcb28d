"""A worker of torchrun is killed, then torchrun with all of its workers; nothing is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.kill import flags_for
from benchmarks.stories import assert_same_run
from benchmarks.victims import Commands, Forks, Nursery, Run, tail


def test_torchrun_restarts_its_workers_and_is_killed(
    tiny_checkpoint: Callable[[str], Path], data_file: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    flags = flags_for(tiny_checkpoint("bert"), data_file, data_file, 2, updates=24, batch=4)
    run: Run = Commands(2, max_restarts=1).start([*flags, "--output_dir", str(broken)], tmp_path)
    first = wait_for_checkpoint(run, broken, 3)
    run.send(signal.SIGKILL, [1])
    second = wait_for_checkpoint(run, broken, 12)
    assert len(set(first) | set(second)) == 4
    run.send(signal.SIGKILL)
    assert run.wait(10.0) == [-signal.SIGKILL]
    with Nursery() as nursery:
        for folder in (broken, whole):
            run = Forks(nursery, 2).start([*flags, "--output_dir", str(folder)], tmp_path)
            assert run.wait(120.0) == [0, 0], tail(run.log)
    assert_same_run(whole, broken)


def wait_for_checkpoint(run: Run, output_dir: Path, step: int) -> list[int]:
    """Wait until a run has saved a checkpoint of that update or a later one; returns its ranks."""
    while not any(int(path.name[5:]) >= step for path in output_dir.glob("ckpt-*[0-9]")):
        assert not run.is_over(), tail(run.log)
        time.sleep(0.005)
    return run.ranks()
