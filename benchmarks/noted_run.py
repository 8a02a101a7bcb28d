"""A training run that notes what it is doing; and a nursery that such runs are forked from.

    python benchmarks/noted_run.py NOTES FLAG …     be a run, noting in the file NOTES
    python benchmarks/noted_run.py                  be a nursery (see `victims.py`)

Notable: the notes are a small file that both sides have mapped into memory, so whoever kills the
run can aim, and knows afterwards what was hit.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

PHASES = ("preparing", "training", "saving", "evaluating", "done")
_LAYOUT = struct.Struct("=qqq")
"""Phase, updates taken, updates taken when the run went on (-1: not known yet)."""


SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Notes:
    """What a run is doing, in a file that outlives it."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        """Open the file, or begin it anew."""
        if fresh:
            path.write_bytes(_LAYOUT.pack(0, 0, -1))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _LAYOUT.size)

    def read(self) -> tuple[str, int, int]:
        """Phase, updates taken, updates taken when the run went on."""
        phase, step, first = _LAYOUT.unpack(self._memory[:])
        return PHASES[phase], step, first

    def write(self, phase: str, step: int | None = None) -> None:
        """Note the phase, and the updates taken if they are more now."""
        _, before, first = self.read()
        if step is not None and first < 0:
            first = step - 1
        step = before if step is None else step
        self._memory[:] = _LAYOUT.pack(PHASES.index(phase), step, first)


def _live(notes: Path, flags: Sequence[str]) -> int:
    """Be a run: train, and note what is done; returns the exit code."""
    faulthandler.register(signal.SIGUSR2)  # where it is, for whoever finds it hanging
    from s2s_ft.commands import train_main
    from s2s_ft.train import evaluate, logs
    from s2s_ft.train import resume as saving

    if os.environ.get("RANK", "0") == "0":
        noted = Notes(notes, fresh=False)
        noted.write("preparing")
        saving.commit = _noting(noted, "saving", saving.commit)  # type: ignore[attr-defined]
        evaluate.Validator.look = _noting(  # type: ignore[method-assign]
            noted, "evaluating", evaluate.Validator.look
        )
        update = logs.TrainingLog.update

        def updated(self: logs.TrainingLog, report: Any) -> None:
            noted.write("training", report.step)
            update(self, report)

        logs.TrainingLog.update = updated  # type: ignore[method-assign]
        code = train_main(flags)
        noted.write("done")
        return code
    return train_main(flags)


def _noting(notes: Notes, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that notes a phase while it runs, and training after it."""

    def noting(*arguments: Any, **named: Any) -> Any:
        notes.write(phase)
        result = function(*arguments, **named)
        notes.write("training")
        return result

    return noting


def _nurse() -> None:
    """Import everything, then fork the processes of a run for each line that comes in."""
    import s2s_ft.train.run  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        pids = []
        # What comes during a fork would meet code of libraries that swallows it.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for rank in range(request["processes"]):
            pid = os.fork()
            if pid == 0:
                os._exit(_born(request, rank))
            pids.append(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        print(json.dumps(pids), flush=True)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(codes), flush=True)


def _born(request: dict[str, Any], rank: int) -> int:
    """Become one process of a run; returns its exit code."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if request["largest_file"] is not None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"], hard))
    if request["processes"] > 1:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(request["processes"]),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(request["port"]),
        )
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        code = _live(Path(request["notes"]), request["flags"])
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    sys.stderr.flush()
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if len(sys.argv) > 1:
        raise SystemExit(_live(Path(sys.argv[1]), sys.argv[2:]))
    _nurse()
