"""Fair timing on a noisy machine: each contestant lives in a process of its own, and they take
turns.

Notable: only one contestant runs at a time, on one thread; a round times each of them once, so that
slow minutes of the machine hit all alike, and figures are medians over rounds with the ratio taken
round by round. Each process's peak memory is its own. One that dies ends the measurement with its
name and exit code.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

Round = Callable[[], dict[str, Any]]
"""Does one round of work; returns figures, `examples` among them, that are the same in every
round.
"""


@dataclass(frozen=True)
class Row:
    """What was measured of one contestant: examples a second (median and all rounds), peak memory,
    other figures.
    """

    name: str
    rate: float
    rates: list[float]
    peak_mib: float
    figures: dict[str, Any]


def measure(contestants: Mapping[str, Callable[[], Round]], rounds: int) -> list[Row]:
    """Time every contestant `rounds` times, in turns.

    Args:
        contestants: Name -> a picklable function that prepares (and warms up) and returns its
            round.
        rounds: Times each of them runs.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    # Each is prepared and warm before the next one starts to prepare.
    running = [_Contestant(name, prepare) for name, prepare in contestants.items()]
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for contestant in running:
            answers[contestant.name].append(contestant.round())
    for contestant in running:
        contestant.stop()
    return [_row(name, answers[name]) for name in contestants]


class ContestantDied(RuntimeError):  # noqa: N818 (named for what it says)
    """A contestant's process has ended before it was told to."""


class _Contestant:
    """A contestant and its process."""

    def __init__(self, name: str, prepare: Callable[[], Round]) -> None:
        """Start the process, and wait until it is ready."""
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(prepare, theirs), daemon=True)
        self._process.start()
        theirs.close()  # so that the other end is closed once the process has ended
        self._answer("preparing")

    def round(self) -> dict[str, Any]:
        """What one round came to."""
        with contextlib.suppress(OSError):  # it is gone: no answer will come
            self._pipe.send("go")
        return dict(self._answer("running a round"))

    def stop(self) -> None:
        """Let the process end."""
        with contextlib.suppress(OSError):
            self._pipe.send("stop")
        self._process.join()

    def _answer(self, doing: str) -> Any:
        """What the process says next."""
        try:
            wait([self._pipe, self._process.sentinel])
            if self._pipe.poll():
                return self._pipe.recv()
        except (EOFError, OSError):
            pass
        self._process.join()
        raise ContestantDied(
            f"{self.name} has ended with exit code {self._process.exitcode} while {doing}"
        )


def _work(prepare: Callable[[], Round], pipe: Connection) -> None:
    """A contestant's process."""
    import torch

    torch.set_num_threads(1)
    run = prepare()
    pipe.send("ready")
    while pipe.recv() == "go":
        start = time.perf_counter()
        figures = run()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        pipe.send({"seconds": seconds, "peak_mib": peak, "figures": figures})


def _row(name: str, answers: list[dict[str, Any]]) -> Row:
    figures = answers[-1]["figures"]
    rates = [figures["examples"] / answer["seconds"] for answer in answers]
    peak = max(answer["peak_mib"] for answer in answers)
    return Row(name, statistics.median(rates), rates, peak, figures)


def ratio(row: Row, base: Row) -> float:
    """How many times as fast as `base`: the median over rounds of the ratio within the round."""
    return statistics.median(a / b for a, b in zip(row.rates, base.rates, strict=True))


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.split(":")[1].strip()
            break
    packages = {name: version(name) for name in ("torch", "transformers")}
    return {"processor": processor, "python": platform.python_version(), "threads": "1", **packages}


def write_report(
    name: str, rows: list[dict[str, Any]], folder: Path | None = None, **facts: Any
) -> None:
    """Write `<name>.json`, in `benchmarks/results` unless told, and print the rows as a table."""
    path = (folder or Path(__file__).parent / "results") / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    report = {"machine": machine(), **facts, "rows": rows}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    columns = list(rows[0])
    cells = [columns, *[[_cell(row.get(column)) for column in columns] for row in rows]]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    for line in cells:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
    print(f"written to {path}")


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
