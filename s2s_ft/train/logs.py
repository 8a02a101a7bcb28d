"""What a run tells while it goes on: a progress bar, lines, curves and generated samples.

    {"kind": "train", "step": 500, "epoch": 1.25, "loss": 4.1, "learning_rate": 5e-05, …}
    {"kind": "look", "step": 500, "epoch": 1.25, "dev_loss": 3.2, "dev_rouge1": 31.5, …}

Notable: the loss of a training line is the mean over every supervised token since the line before,
and what has been summed up towards the next line is part of a checkpoint. So the lines of a resumed
run are those of an uninterrupted one, times aside, and no step comes twice: lines past the step
that a run resumes from are dropped. Every rank keeps a log; only the main one's is heard.
"""

from __future__ import annotations

import logging
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import torch
from tqdm import tqdm

from s2s_ft.options.train import CheckpointOptions
from s2s_ft.train.best import Tracker
from s2s_ft.train.dev_report import DevReport
from s2s_ft.train.distributed import World
from s2s_ft.train.faults import in_words
from s2s_ft.train.lines import LOOK, METRICS, REPORT, SAMPLES, SESSIONS, TRAIN
from s2s_ft.train.places import Places, tensorboard_folder
from s2s_ft.train.report.write import write_report
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.session import note_end, note_start
from s2s_ft.train.step import StepReport
from s2s_ft.train.wandb_run import RUN
from s2s_ft.train.window import Window

logger = logging.getLogger(__name__)

BAR_SECONDS_IN_FILE = 30.0
"""Seconds between two states of the progress bar where it does not go to a terminal."""

SAMPLE_CHARACTERS = 300
"""Characters of a source that the console shows."""


class TrainingLog:
    """The progress bar and everything that is written of one run; leaving it closes them.

    Notable: where an error leaves it, that is the end that is told (see `end`).

    Attributes:
        window: What counts towards the next line.
    """

    def __init__(
        self,
        options: CheckpointOptions,
        schedule: Schedule,
        device: torch.device,
        *,
        world: World | None = None,
        first_step: int = 0,
        window: Window | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        """Open the log; all options of the run are already in `train_options.json`.

        Args:
            options: Folders, how often a line is written, and whether W&B gets it, too.
            schedule: Length of the run and of an epoch.
            device: Whose peak memory is told.
            world: The ranks of the run; only the main one writes.
            first_step: Updates already taken; lines past it are dropped.
            window: The window that the checkpoint resumed from had, for a resumed run.
            tracker: Of the looks, as the checkpoint resumed from had it.

        Raises:
            EnvironmentFault: Weights & Biases is wanted and cannot be had.
            OSError: A file cannot be written.
        """
        world = world or World()
        self.window = window or Window()
        self._output_dir = Path(options.output_dir)
        self._logging_steps = options.logging_steps
        self._schedule = schedule
        self._device = device
        self._step = first_step
        self._places: Places | None = None
        if world.is_main:
            last_look = None if tracker is None else tracker.last_step or 0
            self._places = Places(options, first_step=first_step, last_look=last_look)
            note_start(self._output_dir, first_step, device, world.size)
        self._bar = tqdm(
            total=schedule.total_steps,
            initial=first_step,
            desc="training",
            unit="update",
            mininterval=0.5 if sys.stderr.isatty() else BAR_SECONDS_IN_FILE,
            dynamic_ncols=True,
            disable=not world.is_main,
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
        """Tell of the error that ends the run, if one does, and close everything."""
        self._bar.close()
        if error is not None:
            self.end(in_words(error), finished=False)
        if self._places is not None:
            self._places.close()

    def update(self, report: StepReport) -> None:
        """Tell about one update."""
        now = time.perf_counter()
        self.window.add(report, now - self._last)
        self._last, self._step = now, report.step
        self._bar.set_postfix_str(
            f"loss {self.window.mean_loss:.3f}, lr {report.learning_rate:.2e}, "
            f"{self.window.tokens_per_second:.0f} target tokens/s",
            refresh=False,
        )
        self._bar.update()
        if self.is_line_due(report.step):
            self._write_line(report)
            self.window = Window()

    def is_line_due(self, step: int) -> bool:
        """Whether a line follows `step` updates: every `--logging_steps`, and at the end."""
        if self._logging_steps <= 0:
            return False
        return step % self._logging_steps == 0 or step == self._schedule.total_steps

    def look(self, report: DevReport, *, improved: bool) -> None:
        """Tell about a look at the held-out rows, and leave its time out of the speeds.

        Args:
            report: What it found.
            improved: Whether it is the best so far.
        """
        if self._places is not None:
            numbers = {"loss": report.loss, **report.scores}
            line = {
                "kind": LOOK,
                "step": report.step,
                "epoch": self._epoch(report.step),
                **{f"dev_{name}": value for name, value in numbers.items()},
                "examples": report.num_examples,
                "seconds": round(report.seconds, 3),
                "improved": improved,
            }
            self._places.tell(line, "dev", numbers)
            self._places.show(report.step, report.samples)
            _log_look(report, improved=improved)
        self.forget_pause()

    def forget_pause(self) -> None:
        """Leave the time since the last update, spent on saving, out of the speeds."""
        self._last = time.perf_counter()

    def flush(self) -> None:
        """Put the lines on the disk; those up to a checkpoint's step must not be lost."""
        if self._places is not None:
            self._places.flush()

    def end(self, ending: str, *, finished: bool) -> None:
        """Write down why the run ends here, and `report.html` of how far it came.

        A report that cannot be made is no reason to fail, or to fail in another way: what was
        saved stands.

        Args:
            ending: In a few words, such as `all updates are done`.
            finished: Whether the same command would have nothing left to do.
        """
        if self._places is None:
            return
        try:
            self.flush()
            note_end(self._output_dir, self._step, ending, finished=finished)
            logger.info("report: %s", write_report(self._output_dir))
        except Exception as error:
            logger.warning(
                "%s cannot be written (%s); `python -m s2s_ft.train.report %s` makes it later",
                self._output_dir / REPORT,
                getattr(error, "strerror", None) or in_words(error),
                self._output_dir,
            )

    def _write_line(self, report: StepReport) -> None:
        """A line of `metrics.jsonl`, the same numbers as curves, and a line for a plain log."""
        if self._places is None:
            return
        window = self.window
        numbers = {
            "loss": window.mean_loss,
            "learning_rate": report.learning_rate,
            "grad_norm": report.grad_norm,
            "target_tokens_per_second": window.tokens_per_second,
            "examples_per_second": window.examples_per_second,
        }
        line = {
            "kind": TRAIN,
            "step": report.step,
            "epoch": self._epoch(report.step),
            **numbers,
            "seconds": round(window.seconds, 3),
            "peak_memory_bytes": peak_memory_bytes(self._device),
        }
        self._places.tell(line, "train", numbers)
        logger.info(
            "update %d of %d: loss %.4f, gradient norm %.3f, learning rate %.3e",
            report.step,
            self._schedule.total_steps,
            window.mean_loss,
            report.grad_norm,
            report.learning_rate,
        )

    def _epoch(self, step: int) -> float:
        """Passes over the data after `step` updates."""
        return round(step / self._schedule.steps_per_epoch, 4)


def remove_logs(options: CheckpointOptions) -> None:
    """Remove what an earlier run told; TensorBoard's files only where they are in the output
    folder, and nothing that lies beside them.
    """
    output_dir, folder = Path(options.output_dir), tensorboard_folder(options)
    for name in (METRICS, SAMPLES, SESSIONS, REPORT, RUN):
        (output_dir / name).unlink(missing_ok=True)
    if folder.resolve().parent == output_dir.resolve():
        for file in folder.glob("events.out.tfevents.*"):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # something else is in it
            folder.rmdir()


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory in use so far: on CUDA of the tensors there, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _log_look(report: DevReport, *, improved: bool) -> None:
    """The numbers of a look in one line, and its samples below."""
    scores = "".join(f", {name} {value:.2f}" for name, value in report.scores.items())
    lines = [
        f"held-out rows after update {report.step}: loss {report.loss:.4f}{scores} "
        f"({report.seconds:.1f} s){', the best so far' if improved else ''}"
    ]
    for sample in report.samples:
        source = sample.source
        if len(source) > SAMPLE_CHARACTERS:
            source = source[: SAMPLE_CHARACTERS - 1] + "…"
        lines.append(f"  row {sample.row + 1}, source: {source}")
        lines.append(f"    reference: {sample.reference}")
        lines.append(f"    generated: {sample.generated}")
    logger.info("%s", "\n".join(lines))
