"""Processes that believe they have GPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


def said_by(module: str, given: Any = None) -> Any:
    """What a module of this folder writes when it is run and handed something, both as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.simulated_gpu.{module}"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def run_on_gpu() -> Run:
    """A function that does jobs, all of them in one process, see `commands.py`."""
    return lambda jobs: said_by("commands", jobs)
