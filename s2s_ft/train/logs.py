"""What a run tells while it goes on: a progress bar, `metrics.jsonl` and TensorBoard scalars.

    {"step": 500, "epoch": 1.25, "loss": 4.1, "learning_rate": 5e-05, "grad_norm": 1.3, …}

Notable: the loss of a line is the mean over every supervised token since the line before, and what
has been summed up towards the next line is part of a checkpoint. So the lines of a resumed run are
those of an uninterrupted one, times aside, and no step comes twice: lines past the step that a run
resumes from are dropped.
"""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from tensorboardX import SummaryWriter
from tqdm import tqdm

from s2s_ft.train.loop import StepReport
from s2s_ft.train.schedule import Schedule

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
BAR_SECONDS_IN_FILE = 30.0
"""Seconds between two states of the progress bar where it does not go to a terminal."""


@dataclass
class Window:
    """What the updates since the last line of the log add up to.

    Attributes:
        steps: Updates.
        loss: Summed over supervised tokens.
        tokens: Supervised target tokens.
        examples: Examples.
        seconds: Wall-clock time of the run itself, waiting between a kill and its resume
            not counted.
    """

    steps: int = 0
    loss: float = 0.0
    tokens: int = 0
    examples: int = 0
    seconds: float = 0.0

    def add(self, report: StepReport, seconds: float) -> None:
        """Count one more update."""
        self.steps += 1
        self.loss += report.loss * report.tokens
        self.tokens += report.tokens
        self.examples += report.examples
        self.seconds += seconds

    @property
    def mean_loss(self) -> float:
        """Loss per supervised token."""
        return self.loss / self.tokens if self.tokens else math.nan

    @property
    def tokens_per_second(self) -> float:
        """Supervised target tokens per second."""
        return self.tokens / self.seconds if self.seconds else math.nan

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Window:
        """What `dataclasses.asdict` made of a window."""
        return cls(**{field.name: saved[field.name] for field in fields(cls)})


class TrainingLog:
    """The progress bar, `metrics.jsonl` and TensorBoard of one run; leaving it closes them.

    Attributes:
        window: What counts towards the next line.
    """

    def __init__(
        self,
        output_dir: Path,
        log_dir: Path,
        schedule: Schedule,
        *,
        logging_steps: int,
        device: torch.device,
        first_step: int = 0,
        window: Window | None = None,
    ) -> None:
        """Open the log.

        Args:
            output_dir: Holds `metrics.jsonl`.
            log_dir: Holds TensorBoard's event files.
            schedule: Length of the run and of an epoch.
            logging_steps: Updates between two lines; zero or less writes none.
            device: Whose peak memory is told.
            first_step: Updates already taken; lines past it are dropped.
            window: The window that the checkpoint resumed from had, for a resumed run.
        """
        self.window = window or Window()
        self._schedule = schedule
        self._logging_steps = logging_steps
        self._device = device
        drop_lines_after(output_dir / METRICS, first_step)
        self._metrics = (output_dir / METRICS).open("a", encoding="utf-8")
        self._tensorboard = SummaryWriter(str(log_dir), purge_step=first_step + 1)
        self._bar = tqdm(
            total=schedule.total_steps,
            initial=first_step,
            desc="training",
            unit="update",
            mininterval=0.5 if sys.stderr.isatty() else BAR_SECONDS_IN_FILE,
            dynamic_ncols=True,
        )
        self._last = time.perf_counter()

    def __enter__(self) -> TrainingLog:
        """Nothing to do, all is open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close everything."""
        self._bar.close()
        self._metrics.close()
        self._tensorboard.close()

    def update(self, step: int, report: StepReport) -> None:
        """Tell about one update.

        Args:
            step: Updates taken, this one included.
            report: Of this update.
        """
        now = time.perf_counter()
        self.window.add(report, now - self._last)
        self._last = now
        self._bar.set_postfix_str(
            f"loss {self.window.mean_loss:.3f}, lr {report.learning_rate:.2e}, "
            f"{self.window.tokens_per_second:.0f} target tokens/s",
            refresh=False,
        )
        self._bar.update()
        if self._logging_steps > 0 and step % self._logging_steps == 0:
            self._write_line(step, report)
            self.window = Window()

    def forget_pause(self) -> None:
        """Leave the time since the last update, spent on saving, out of the speeds."""
        self._last = time.perf_counter()

    def flush(self) -> None:
        """Put the lines on the disk; those up to a checkpoint's step must not be lost."""
        self._metrics.flush()
        os.fsync(self._metrics.fileno())
        self._tensorboard.flush()

    def _write_line(self, step: int, report: StepReport) -> None:
        """A line of `metrics.jsonl`, the same numbers as scalars, and a line for a plain log."""
        window = self.window
        numbers = {
            "loss": window.mean_loss,
            "learning_rate": report.learning_rate,
            "grad_norm": report.grad_norm,
            "target_tokens_per_second": window.tokens_per_second,
            "examples_per_second": window.examples / window.seconds if window.seconds else math.nan,
        }
        line = {
            "step": step,
            "epoch": round(step / self._schedule.steps_per_epoch, 4),
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
            "seconds": round(window.seconds, 3),
            "peak_memory_bytes": peak_memory_bytes(self._device),
        }
        self._metrics.write(json.dumps(line, allow_nan=False) + "\n")
        self._metrics.flush()
        for name, value in numbers.items():
            self._tensorboard.add_scalar(f"train/{name}", value, step)
        logger.info(
            "update %d of %d: loss %.4f, gradient norm %.3f, learning rate %.3e",
            step,
            self._schedule.total_steps,
            window.mean_loss,
            report.grad_norm,
            report.learning_rate,
        )


def drop_lines_after(path: Path, step: int) -> None:
    """Keep the lines of `metrics.jsonl` up to a step; a line torn by a kill goes, too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in kept)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file for people to read, whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory in use so far: on CUDA of the tensors there, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
