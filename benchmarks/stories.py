"""Runs that are ended at random moments and started again, and what has to be the same in the end.

Notable: after an undisturbed run (`Story`) each further one goes through some blows (`strike`). A
third of the blows aim at a save, a third at a look at the held-out rows, a few at the preparation,
the rest anywhere.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.victims import Commands, Launcher, Run, tail

AIMS = (*("saving",) * 3, *("evaluating",) * 3, *("anywhere",) * 3, "preparing")
NUMBERS = (*(signal.SIGKILL,) * 3, *(signal.SIGTERM,) * 2, signal.SIGUSR1, signal.SIGINT)
PATIENCE = 120.0
"""Seconds after which a run that should end counts as hanging."""

REST_SECONDS = 10.0
"""How long the rest of a run may live where one process ended before they had met."""

COUNTED = ("step", "kind", "loss", "grad_norm", "learning_rate")
"""What a line of `metrics.jsonl` must share with that of another run; and all that is `dev_…`."""


@dataclass
class Blow:
    """One signal that ended a run.

    Attributes:
        signal: Its name.
        to: `all`, or the rank that alone got it.
        phase: What rank 0 was doing.
        step: Updates that had been taken; None before the first one of this start.
        resumed: Updates that had been taken when the next start went on; None where that start was
            ended before its first update.
        codes: Exit codes.
        seconds: How long the run had lived.
    """

    signal: str
    to: str
    phase: str
    step: int | None
    resumed: int | None
    codes: list[int]
    seconds: float


class Story:
    """Runs of one command, some of them killed, compared with one that was left alone."""

    def __init__(
        self, launcher: Launcher, flags: Sequence[str], folder: Path, choice: random.Random
    ) -> None:
        """Take the undisturbed run.

        Args:
            launcher: Starts the runs.
            flags: The command line, without `--output_dir`.
            folder: An empty folder that all runs go into.
            choice: Decides when and how runs are ended.
        """
        self._launcher = launcher
        self._flags = list(flags)
        self._folder = folder
        self._choice = choice
        start = time.monotonic()
        self._whole = self._begin("whole")
        self._expect(self._run("whole").wait(10 * PATIENCE), 0)
        self.whole_seconds = time.monotonic() - start
        self.broken_seconds: list[float] = []

    def strike(self, blows: int) -> list[Blow]:
        """Take a run to its end through so many blows (fewer if it is done before), and compare.

        Raises:
            AssertionError: It is not the same in the end.
        """
        name = f"broken-{len(self.broken_seconds)}"
        self._begin(name)
        struck: list[Blow] = []
        start = time.monotonic()
        while True:
            run = self._run(name)
            blow = self._hit(run) if len(struck) < blows else None
            codes = run.wait(10 * PATIENCE if blow is None else PATIENCE)
            _, _, first = run.notes.read()
            if struck and first >= 0 and struck[-1].resumed is None:
                struck[-1].resumed = first
            if blow is None or codes == [0] * len(codes):
                self._expect(codes, 0)
                break
            blow.codes = codes
            self._check_codes(blow, run)
            struck.append(blow)
        self.broken_seconds.append(time.monotonic() - start)
        assert_same_run(self._whole, self._folder / name / "out")
        return struck

    def _begin(self, name: str) -> Path:
        """The output folder of a new run."""
        (self._folder / name).mkdir()
        return self._folder / name / "out"

    def _run(self, name: str) -> Run:
        """Start the command."""
        folder = self._folder / name
        return self._launcher.start([*self._flags, "--output_dir", str(folder / "out")], folder)

    def _hit(self, run: Run) -> Blow | None:
        """End a run at some moment; None if it was over before."""
        choice, start = self._choice, time.monotonic()
        aim, number = choice.choice(AIMS), choice.choice(NUMBERS)
        alone = choice.randrange(self._launcher.processes) if choice.random() < 0.5 else None
        for _ in range(choice.randrange(4)):
            _wait_for(run, aim, is_there=True)
            _wait_for(run, aim, is_there=False)
        _wait_for(run, aim, is_there=True)
        # Half of the blows come at once, the others up to the length of some updates later.
        time.sleep(choice.choice((0.0, 0.001, 0.004, 0.02, 0.1)) * choice.random())
        if run.is_over():
            return None
        before = run.notes.read()[0]
        run.send(number, None if alone is None else [alone])
        if before == "preparing":
            _end_the_rest(run)
        run.wait(PATIENCE)
        phase, step, first = run.notes.read()
        phase = phase if number == signal.SIGKILL else before  # others go on for a while
        to = "all" if alone is None or self._launcher.processes == 1 else f"rank {alone}"
        seconds = time.monotonic() - start
        name = signal.Signals(number).name
        return Blow(name, to, phase, step if first >= 0 else None, None, [], seconds)

    def _check_codes(self, blow: Blow, run: Run) -> None:
        """SIGTERM and its like give 128 + n; SIGKILL of one is an error to the others."""
        if self._launcher.processes > 1 and isinstance(self._launcher, Commands):
            return  # torchrun has codes of its own
        number = signal.Signals[blow.signal]
        allowed = {-number} if number == signal.SIGKILL else {128 + number}
        is_last = blow.phase == "done" or blow.step == max(_steps(self._whole))
        if blow.phase == "preparing" or is_last:  # nobody takes signals over then
            allowed |= {-number, -signal.SIGKILL}
        if blow.phase == "preparing" or is_last or (number == signal.SIGKILL and blow.to != "all"):
            allowed |= {1}
        if is_last:
            allowed |= {0}
        if not set(blow.codes) <= allowed:
            raise AssertionError(f"{blow}: {tail(run.log)}")

    def _expect(self, codes: list[int], wanted: int) -> None:
        """Fail with the log of the last run if it did not end as it should."""
        if any(code != wanted for code in codes):
            logs = sorted(self._folder.glob("*/log.txt"), key=lambda path: path.stat().st_mtime)
            raise AssertionError(f"exit codes {codes}: {tail(logs[-1])}")


def _end_the_rest(run: Run) -> None:
    """Do what launchers do about processes that wait for one that will never come."""
    end = time.monotonic() + REST_SECONDS
    while not run.is_over() and time.monotonic() < end:
        time.sleep(0.01)
    if not run.is_over():
        run.send(signal.SIGKILL)


def _wait_for(run: Run, aim: str, *, is_there: bool) -> None:
    """Wait until a run is, or is no longer, at what is aimed at; or is over."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        phase = run.notes.read()[0]
        there = phase not in ("preparing", "done") if aim == "anywhere" else phase == aim
        if there == is_there or phase == "done" or aim == "preparing":
            return
        if run.is_over():
            return
        if aim == "anywhere" and not is_there:
            time.sleep(0.05)
            return
        time.sleep(0.0005)


def assert_same_run(whole: Path, other: Path) -> None:
    """Fail unless two output folders hold the same last checkpoint, best model and numbers."""
    last, found = (max(_steps(folder), default=None) for folder in (whole, other))
    assert found == last, f"{other} ends at update {found}, {whole} at {last}"
    pairs = [(f"ckpt-{last}", name) for name in ("model.safetensors", "optimizer.safetensors")]
    if (whole / "best").is_dir():
        pairs.append(("best", "model.safetensors"))
    for folder, name in pairs:
        assert_same_tensors(whole / folder / name, other / folder / name)
    assert _told(other) == _told(whole), f"metrics.jsonl of {other} and {whole} differ"
    leftovers = [path.name for path in other.iterdir() if path.suffix in (".tmp", ".old")]
    assert not leftovers, f"{other} holds {leftovers}"


def assert_same_tensors(one: Path, other: Path) -> None:
    """Fail unless two safetensors files hold the same bits under the same names."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys(), f"{one} and {other} differ in names"
    for name, tensor in first.items():
        same = torch.equal(
            tensor.view(-1).view(torch.uint8), second[name].view(-1).view(torch.uint8)
        )
        assert same, f"{name} differs between {one} and {other}"


def _steps(folder: Path) -> Iterator[int]:
    """The updates after which there are checkpoints."""
    return (int(path.name[5:]) for path in folder.glob("ckpt-*") if path.name[5:].isdigit())


def _told(folder: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` without what depends on the clock."""
    lines = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {
            name: value
            for name, value in line.items()
            if name in COUNTED or (name.startswith("dev_") and "second" not in name)
        }
        for line in lines
    ]
