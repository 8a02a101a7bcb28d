"""The files that tell of a run: their names, and how they are written and cut back.

    metrics.jsonl     a line of kind "train" every --logging_steps, one of kind "look" at each look
                      at the held-out rows; the numbers of a look are called dev_loss, dev_rouge1 …
    samples.jsonl     what the model wrote at each look: row, source, reference, generated
    sessions.jsonl    a line of kind "start" each time the command began or went on, with machine
                      and versions; one of kind "end" each time it ended, unless it was killed
    report.html       all of it to look at

Notable: a line is written whole or, by a kill, torn at the end of the file; a torn line is dropped
by the next start, or kept apart from the next line, and passed over by whoever reads. The standard
library is enough to read them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from s2s_ft.storage.output_file import write_whole

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
SESSIONS = "sessions.jsonl"
REPORT = "report.html"
OPTIONS = "train_options.json"

TRAIN, LOOK, START, END = "train", "look", "start", "end"
"""Kinds of lines."""

Line = dict[str, Any]


def line_of(content: Mapping[str, Any]) -> str:
    """A line of JSON; a number that is not finite has no place in one and raises ValueError."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Say which file it is that cannot be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path} cannot be written: {error.strerror or error}; the same command goes on "
            "from the newest checkpoint once it can"
        ) from error


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Add one line to a file and have it put on the disk, apart from a torn one before it.

    Raises:
        OSError: It cannot be written.
    """
    # An argument of the command may be in no encoding at all.
    line = line_of(content).encode("utf-8", errors="replace")
    with naming(path), path.open("a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[Line]:
    """The lines of a file, those left out that a kill tore; none where there is no file."""
    return [line for _, line in _lines(path)]


def drop_lines_after(path: Path, step: int, *, last_look: int | None = None) -> None:
    """Keep the lines up to a step, so that a run that goes on from there tells nothing twice.

    A look belongs to the step it was made at but comes after it: a run that stopped in between
    looks again. So what looks left counts up to the last look that the run knows of.

    Args:
        path: `metrics.jsonl` or `samples.jsonl`; it may be absent.
        step: Updates taken where the run goes on.
        last_look: Step of the last look that the run has taken into account; all up to
            `step` unless given.
    """
    if not path.exists():
        return
    last = step if last_look is None else min(step, last_look)
    kept = [text for text, line in _lines(path) if _step(line) <= (last if _looks(line) else step)]
    write_whole(path, (text + "\n" for text in kept))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file for people to read, whole or not at all."""
    write_whole(path, [json.dumps(content, indent=2, ensure_ascii=False), "\n"])


def _lines(path: Path) -> Iterator[tuple[str, Line]]:
    """Each whole line of a file: its text, and the JSON object it holds."""
    if not path.exists():
        return
    # Cut at line feeds alone: other line ends may stand inside a generated text.
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            yield text, line


def _step(line: Line) -> int:
    step: int = line["step"]
    return step


def _looks(line: Line) -> bool:
    """Whether a look left the line: a line of metrics of that kind, or a sample."""
    return line.get("kind") == LOOK or "generated" in line
