"""Where the numbers and texts of a run go: files of lines, TensorBoard, Weights & Biases.

    metrics.jsonl   every number             TensorBoard, W&B   train/loss, dev/rouge2, …
    samples.jsonl   what the model wrote     TensorBoard, W&B   dev/sample_<row>, dev/samples

Notable: only the main rank has places. Opening them for a run that goes on drops what was told
about updates that will be taken again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from s2s_ft.cli import EnvironmentFault
from s2s_ft.options.train import CheckpointOptions
from s2s_ft.storage.output_folder import make_writable
from s2s_ft.train.dev_report import Sample
from s2s_ft.train.lines import METRICS, SAMPLES, drop_lines_after, line_of, naming
from s2s_ft.train.tensorboard import TensorBoard
from s2s_ft.train.wandb_run import WandbRun


class Places:
    """Everything that is written while a run goes on."""

    def __init__(
        self, options: CheckpointOptions, *, first_step: int, last_look: int | None
    ) -> None:
        """Open all places.

        Args:
            options: The folders, and whether Weights & Biases is wanted.
            first_step: Updates already taken; what was told about later ones is dropped.
            last_look: Step of the last look that was taken into account, see `drop_lines_after`.

        Raises:
            EnvironmentFault: Weights & Biases is wanted and cannot be had.
            OSError: A file cannot be written.
        """
        output_dir = Path(options.output_dir)
        self._wandb = WandbRun(options.wandb_project, output_dir) if options.wandb_project else None
        self._metrics = _open(output_dir / METRICS, first_step, last_look)
        self._samples = _open(output_dir / SAMPLES, first_step, last_look)
        self._tensorboard = TensorBoard(tensorboard_folder(options), first_step=first_step)

    def tell(self, line: Mapping[str, Any], room: str, numbers: Mapping[str, float]) -> None:
        """Write a line, and its numbers as curves.

        Args:
            line: For `metrics.jsonl`; holds `step`. What is not finite becomes null.
            room: `train` or `dev`, the part of a curve's name before the slash.
            numbers: The curves' names and values.
        """
        step = line["step"]
        with naming(self._metrics.name):
            self._metrics.write(line_of({name: _plain(value) for name, value in line.items()}))
            self._metrics.flush()
        for name, value in numbers.items():
            self._tensorboard.scalar(f"{room}/{name}", value, step)
        if self._wandb is not None:
            self._wandb.scalars(step, {f"{room}/{name}": each for name, each in numbers.items()})

    def show(self, step: int, samples: Sequence[Sample]) -> None:
        """Write down what the model made of some held-out rows."""
        with naming(self._samples.name):
            self._samples.writelines(line_of({"step": step, **asdict(each)}) for each in samples)
            self._samples.flush()
        for sample in samples:
            text = (
                f"**source** {sample.source}\n\n**reference** {sample.reference}\n\n"
                f"**generated** {sample.generated}"
            )
            self._tensorboard.text(f"dev/sample_{sample.row}", text, step)
        if self._wandb is not None and samples:
            columns = ("row", "source", "reference", "generated")
            rows = [tuple(asdict(sample).values()) for sample in samples]
            self._wandb.table(step, "dev/samples", columns, rows)

    def flush(self) -> None:
        """Put everything on the disk."""
        for file in (self._metrics, self._samples):
            with naming(file.name):
                file.flush()
                os.fsync(file.fileno())
        self._tensorboard.flush()

    def close(self) -> None:
        """Close everything."""
        self._tensorboard.close()
        for file in (self._metrics, self._samples):
            with naming(file.name):
                file.close()
        if self._wandb is not None:
            self._wandb.close()


def make_tensorboard_folder(options: CheckpointOptions) -> None:
    """Make TensorBoard's folder and try to write there, before anything slow is done.

    Raises:
        EnvironmentFault: It cannot be made or written.
    """
    folder = tensorboard_folder(options)
    try:
        make_writable(folder)
    except OSError as error:
        raise EnvironmentFault(
            f"--log_dir {folder} cannot be written: {error.strerror}; name a folder that can"
        ) from error


def tensorboard_folder(options: CheckpointOptions) -> Path:
    """TensorBoard's folder."""
    return Path(options.log_dir or Path(options.output_dir) / "tensorboard")


def _open(path: Path, first_step: int, last_look: int | None) -> IO[str]:
    """A file of lines to go on with, cut back to where the run goes on."""
    drop_lines_after(path, first_step, last_look=last_look)
    return path.open("a", encoding="utf-8")


def _plain(value: Any) -> Any:
    """A value as a line can hold it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
