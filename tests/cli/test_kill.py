"""Runs that are killed again and again end as if nothing had happened, for one process and for two.

Notable: the moments are random; the seed is printed, and `S2S_FT_KILL_SEED` repeats it. Dropout is
on, an update takes two passes on each process, and saves and looks at held-out rows fall into the
middle of epochs. The runs are forked from a process that has imported everything (see
`benchmarks/victims.py`, and `benchmarks/kill.py` for a longer test).
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import kill
from benchmarks.stories import Story
from benchmarks.victims import Forks, Nursery, tail
from s2s_ft.train.checkpoint import newest_valid

STEPS = 24
KILLS = {1: 5, 2: 3}


def flags_for(encoder: Path, data: Path, processes: int) -> list[str]:
    return kill.flags_for(encoder, data, data, processes, updates=STEPS, batch=4)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.mark.parametrize("processes", [1, 2])
def test_random_kills_change_no_bit(
    processes: int,
    nursery: Nursery,
    tiny_checkpoint: Callable[[str], Path],
    data_file: Path,
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("S2S_FT_KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"S2S_FT_KILL_SEED={seed}")
    flags = flags_for(tiny_checkpoint("bert"), data_file, processes)
    story = Story(Forks(nursery, processes), flags, tmp_path, random.Random(seed))
    blows = story.strike(KILLS[processes])
    print(*blows, sep="\n")
    assert blows


def test_signals_that_ask_for_an_end(
    nursery: Nursery, tiny_checkpoint: Callable[[str], Path], data_file: Path, tmp_path: Path
) -> None:
    """The update is finished and saved, the exit code says which signal it was."""
    flags = [
        *flags_for(tiny_checkpoint("bert"), data_file, 1),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    flags += ["--save_steps", "0"]
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        run = Forks(nursery).start(flags, tmp_path)
        while run.notes.read()[2] < 0:  # no update yet
            assert not run.is_over(), tail(run.log)
            time.sleep(0.001)
        run.send(number)
        assert run.wait(60.0) == [128 + number], tail(run.log)
        _, step, first = run.notes.read()
        assert newest_valid(tmp_path / "out") == tmp_path / "out" / f"ckpt-{step}"
        assert first < step < STEPS
