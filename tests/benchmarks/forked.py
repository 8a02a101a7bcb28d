"""Benchmarks as a user starts them, forked from a process that has imported everything.

Notable: importing takes longer than a trial does, so a benchmark's contestants, too, are forked
here and not started anew. A GPU does not survive that, so none is seen.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from unittest.mock import patch

from tests.distributed.ranks import ROOT, together

BENCHMARKS = ROOT / "benchmarks"


def run(name: str, *flags: object, folder: Path) -> str:
    """Run `benchmarks/<name>.py` to its end, from a folder that is not the repository's.

    Args:
        name: Of the benchmark.
        flags: Its command line.
        folder: Where it is started; for what it says.

    Returns:
        What it printed.

    Raises:
        AssertionError: It did not end with 0.
    """
    said = folder / f"{name}.txt"
    work = partial(_be, name, [str(flag) for flag in flags], said)
    (ended,) = together(work, 1, folder, launched=False)
    text = said.read_text(encoding="utf-8")
    assert ended.code == 0, text + ended.text
    return text


def _be(name: str, flags: list[str], said: Path) -> int:
    """Be the script."""
    script = BENCHMARKS / f"{name}.py"
    os.chdir(said.parent)
    fork = multiprocessing.get_context("fork")
    with (
        said.open("w", encoding="utf-8", buffering=1) as stream,
        redirect_stdout(stream),
        patch.object(multiprocessing, "get_context", lambda _: fork),
        patch.object(sys, "argv", [str(script), *flags]),
        patch.dict(os.environ, CUDA_VISIBLE_DEVICES=""),
    ):
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
