"""Decoding runs for tests: a nursery that has imported everything and forks a process for each, so
that many runs can be started, and killed, in the time that one takes to import torch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Nursery:
    """The process that runs are forked from; a context manager that ends it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.decoding"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(
        self, flags: Sequence[object], log: Path, number: int = 0, after: float = 0.0
    ) -> tuple[int, float]:
        """Run a decoding command; with `number`, send that signal after some seconds.

        Returns:
            The exit code, -n after signal n, and how long it took.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([list(map(str, flags)), str(log)]) + "\n")
        self._process.stdin.flush()
        pid, started = int(self._process.stdout.readline()), time.monotonic()
        if number:
            time.sleep(after)
            os.kill(pid, number)  # the nursery has not waited for it, so the number is still its
        code = self._ended()
        return code, time.monotonic() - started

    def _ended(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("wait\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _nurse() -> None:
    """Fork a run for each line that comes in, and wait for it when told to."""
    from s2s_ft.commands import decode_main
    from s2s_ft.decode import run  # noqa: F401 imported for what forks find there

    child = 0
    for line in sys.stdin:
        if line == "wait\n":
            status = os.waitpid(child, 0)[1]
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        flags, log = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os._exit(decode_main(flags))
        print(child, flush=True)


if __name__ == "__main__":
    _nurse()
