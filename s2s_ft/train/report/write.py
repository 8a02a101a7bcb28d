"""Puts the page together; `main` is the command `python -m s2s_ft.train.report OUTPUT_DIR`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from s2s_ft.storage.output_file import write_whole
from s2s_ft.train.lines import REPORT
from s2s_ft.train.report import sections
from s2s_ft.train.report.curves import curves
from s2s_ft.train.report.page import page
from s2s_ft.train.report.story import Story

PROGRAM = "python -m s2s_ft.train.report"


def write_report(output_dir: Path) -> Path:
    """Make `report.html` of the files in an output folder, whole or not at all.

    Returns:
        The file.

    Raises:
        ValueError: The folder holds no run.
        OSError: The file cannot be written.
    """
    story = Story.read(output_dir)
    parts = [
        *sections.header(story),
        *curves(story),
        *sections.looks(story),
        *sections.samples(story),
        *sections.options(story),
        *sections.environment(story),
    ]
    path = output_dir / REPORT
    write_whole(path, [page(f"{story.name}: training", parts)])
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m s2s_ft.train.report`; returns the exit code."""
    parser = argparse.ArgumentParser(PROGRAM, description="Make report.html of a training run.")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", type=Path)
    print(write_report(parser.parse_args(argv).output_dir))
    return 0
