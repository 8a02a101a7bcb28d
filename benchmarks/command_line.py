"""What the command lines of the benchmarks have in common: the docstring is the help, and a report
goes to the folder that is asked for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SAMPLE = ROOT / "examples" / "debsum"


def parser_of(words: str | None) -> argparse.ArgumentParser:
    """A parser that takes `--results FOLDER`.

    Args:
        words: The benchmark's docstring.
    """
    parser = argparse.ArgumentParser(
        description=words, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help="where the report goes; benchmarks/results unless given",
    )
    return parser


def model_anywhere(name: str) -> str:
    """A model for a command that runs from another folder: a folder's whole path, or a hub id."""
    return str(Path(name).resolve()) if Path(name).exists() else name
