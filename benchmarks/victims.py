"""Training runs that are there to be killed: how they are started, watched and ended.

Notable: what is started are the runs of `noted_run.py`, and there are two ways. `Commands` does
what a user does (`python`, `torchrun`). `Forks` forks each process from one that has imported
everything, because importing takes longer than a tiny run; from there on it is the same command
line in a process of its own.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from benchmarks.noted_run import ROOT, Notes

SCRIPT = Path(__file__).resolve().with_name("noted_run.py")


class Run(Protocol):
    """A run that has been started."""

    notes: Notes
    log: Path

    def ranks(self) -> list[int]:
        """Process ids of the ranks that are there, by rank."""

    def send(self, number: int, ranks: Sequence[int] | None = None) -> None:
        """Send a signal to some ranks; None: to all, and to what started them."""

    def is_over(self) -> bool:
        """Whether every process has ended."""

    def wait(self, seconds: float) -> list[int]:
        """Exit codes, -n after signal n; TimeoutError if it is not over in time."""


class Launcher(Protocol):
    """Starts runs."""

    processes: int

    def start(self, flags: Sequence[str], folder: Path) -> Run:
        """Start a run; its notes and its log go to the folder."""


class Commands:
    """Starts runs as a user does: `python` for one process, `torchrun` for more."""

    def __init__(self, processes: int, *, max_restarts: int = 0) -> None:
        """Remember how many processes a run has, and how often torchrun may restart them."""
        self.processes = processes
        self._max_restarts = max_restarts

    def start(self, flags: Sequence[str], folder: Path) -> CommandRun:
        """Start a run."""
        notes = Notes(folder / "notes.bin", fresh=True)
        command = [sys.executable]
        if self.processes > 1:
            command += ["-m", "torch.distributed.run", "--standalone"]
            command += ["--nproc-per-node", str(self.processes)]
            command += ["--max-restarts", str(self._max_restarts), "--monitor-interval", "0.1"]
        command += [str(SCRIPT), str(folder / "notes.bin"), *flags]
        log = folder / "log.txt"
        with log.open("ab") as file:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=file,
                stderr=file,
                env=environment(),
                start_new_session=True,
            )
        return CommandRun(process, notes, log, is_launched=self.processes > 1)


class CommandRun:
    """A run that is a command; with torchrun the ranks are children of it."""

    def __init__(
        self, process: subprocess.Popen[bytes], notes: Notes, log: Path, *, is_launched: bool
    ) -> None:
        """Keep what belongs to the run."""
        self.notes = notes
        self.log = log
        self._process = process
        self._is_launched = is_launched

    def ranks(self) -> list[int]:
        """Process ids of the ranks that are there."""
        return children(self._process.pid) if self._is_launched else [self._process.pid]

    def send(self, number: int, ranks: Sequence[int] | None = None) -> None:
        """SIGKILL reaches the launcher and its workers, others go to the launcher alone."""
        pids = self.ranks()
        if ranks is not None:
            targets = [pids[rank] for rank in ranks if rank < len(pids)]
        elif number == signal.SIGKILL:
            targets = [self._process.pid, *pids]
        else:
            targets = [self._process.pid]
        _send(number, targets)

    def is_over(self) -> bool:
        """Whether the command has ended."""
        return self._process.poll() is not None

    def wait(self, seconds: float) -> list[int]:
        """The exit code of the command."""
        try:
            return [self._process.wait(seconds)]
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"not over after {seconds} s: {tail(self.log)}") from error


class Nursery:
    """A process that has imported everything, to fork runs from; leaving it ends that process."""

    def __init__(self) -> None:
        """Start the process that runs are forked from."""
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )

    def __enter__(self) -> Nursery:
        """Nothing to do."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the process that runs are forked from."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def ask(self, request: dict[str, Any]) -> Any:
        """Send a request and wait for what is said to it first."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return self.answer(60.0)

    def answer(self, seconds: float) -> Any:
        """The next line that the process says; None if it does not come in time."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        return json.loads(self._process.stdout.readline())


class Forks:
    """Starts runs in a nursery, one after the other."""

    def __init__(
        self, nursery: Nursery, processes: int = 1, *, largest_file: int | None = None
    ) -> None:
        """Remember how a run is to be started.

        Args:
            nursery: Where.
            processes: Of a run.
            largest_file: Bytes past which the system lets no file grow, as if the disk were full.
        """
        self.processes = processes
        self._nursery = nursery
        self._largest_file = largest_file

    def start(self, flags: Sequence[str], folder: Path) -> ForkedRun:
        """Start a run."""
        notes, log = Notes(folder / "notes.bin", fresh=True), folder / "log.txt"
        pids = self._nursery.ask(
            {
                "flags": list(flags),
                "notes": str(folder / "notes.bin"),
                "log": str(log),
                "processes": self.processes,
                "port": free_port(),
                "largest_file": self._largest_file,
            }
        )
        return ForkedRun(self._nursery, pids, notes, log)


class ForkedRun:
    """A run whose processes were forked."""

    def __init__(self, nursery: Nursery, pids: list[int], notes: Notes, log: Path) -> None:
        """Keep what belongs to the run."""
        self.notes = notes
        self.log = log
        self._nursery = nursery
        self._pids = pids
        self._codes: list[int] | None = None

    def ranks(self) -> list[int]:
        """Process ids of the ranks."""
        return self._pids

    def send(self, number: int, ranks: Sequence[int] | None = None) -> None:
        """Send a signal to some ranks, or to all."""
        _send(number, self._pids if ranks is None else [self._pids[rank] for rank in ranks])

    def is_over(self) -> bool:
        """Whether every process has ended."""
        if self._codes is None:
            self._codes = self._nursery.answer(0.0)
        return self._codes is not None

    def wait(self, seconds: float) -> list[int]:
        """Exit codes by rank."""
        if self._codes is None:
            self._codes = self._nursery.answer(seconds)
        if self._codes is None:
            _send(signal.SIGUSR2, self._pids)  # they write down where they are
            time.sleep(1.0)
            _send(signal.SIGKILL, self._pids)
            self._nursery.answer(10.0)
            raise TimeoutError(f"not over after {seconds} s: {tail(self.log, 9000)}")
        return self._codes


def environment() -> dict[str, str]:
    """The environment of a run: one thread, no network."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def children(pid: int) -> list[int]:
    """Process ids of the children of a process, the oldest first."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(word) for word in text.split()]
    return []


def tail(log: Path, characters: int = 3000) -> str:
    """The end of a log."""
    return log.read_text(encoding="utf-8", errors="replace")[-characters:]


def _send(number: int, pids: Sequence[int]) -> None:
    """Send a signal to those that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
