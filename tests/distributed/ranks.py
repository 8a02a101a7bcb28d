"""Processes that train together, for tests: started in a moment, or by torch's own launchers.

Notable: the ranks of most tests are forked from a server that has imported everything, once. They
find one another through the environment, as behind any launcher. Only what a launcher itself does
is tested with a launcher.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]

LIMIT_SECONDS = 120
"""After which something hangs; nothing here takes a tenth of it on an idle machine."""

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["s2s_ft.train.run", "torch.distributed.fsdp", "tests.conftest"])


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, negative after a signal, and what it said on stderr."""

    code: int
    text: str


def together(
    work: Callable[[], int], size: int, folder: Path, *, launched: bool = True
) -> list[Ended]:
    """Run the same function in `size` processes, as a command; it must be pickled by name."""
    port = free_port()
    ranks = []
    for rank in range(size):
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        said = folder / f"rank-{rank}-{port}.txt"
        arguments = (work, environment if launched else {}, said)
        ranks.append((_server.Process(target=_rank, args=arguments), said))
    for process, _ in ranks:
        process.start()
    try:
        for process, _ in ranks:
            process.join(LIMIT_SECONDS)
    finally:
        for process, _ in ranks:
            process.kill()
            process.join()
    return [Ended(process.exitcode or 0, said.read_text("utf-8")) for process, said in ranks]


def _rank(work: Callable[[], int], environment: dict[str, str], said: Path) -> None:
    """What each process does."""
    import torch

    from s2s_ft.cli import run

    os.environ.update(environment)
    torch.set_num_threads(1)
    with said.open("w", encoding="utf-8", buffering=1) as file:
        os.dup2(file.fileno(), 2)
        sys.stderr = file
        faulthandler.dump_traceback_later(LIMIT_SECONDS / 2, file=file)  # for whoever looks for why
        code = run(work)
    sys.exit(code)


def training(flags: Sequence[object]) -> Callable[[], int]:
    """`run_seq2seq.py` with these flags, to be run `together`."""
    return partial(train_with, [str(flag) for flag in flags])


def train_with(argv: list[str]) -> int:
    """`run_seq2seq.py` in this process, without its way of ending."""
    from s2s_ft.cli import parse
    from s2s_ft.options import TrainOptions
    from s2s_ft.train.run import train

    return train(parse(TrainOptions, argv, "run_seq2seq.py", ""))


def launch(
    module: str, size: int, flags: Sequence[object], *, more: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start `run_seq2seq.py` behind one of torch's launchers."""
    command = [
        *(sys.executable, "-m", module, f"--nproc-per-node={size}"),
        *("--master-port", str(free_port()), *more),
        *("run_seq2seq.py", *map(str, flags)),
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a process."""
    try:
        _, text = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # so that a launcher takes its workers with it
        _, text = process.communicate()
    return Ended(process.returncode, text)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The numbers of the processes that a launcher has started and that still run."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in listed.read_text("ascii").split()]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
