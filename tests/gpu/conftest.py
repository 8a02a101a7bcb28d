"""Processes that believe they have GPUs, and those that do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.gpu.process import CAN_SIMULATE

Job = dict[str, Any]
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Gpu:
    """What does jobs on a GPU.

    Attributes:
        is_real: Whether there is one; it rounds as it likes, and tells nothing of waits.
    """

    is_real: bool

    def run(self, jobs: list[Job]) -> list[Outcome]:
        """Do jobs, all of them in one process, see `commands.py`."""
        outcomes: list[Outcome] = said_by(
            "commands", *(["real"] if self.is_real else []), given=jobs
        )
        return outcomes


def said_by(module: str, *arguments: str, given: Any = None) -> Any:
    """What a module of this folder writes when it is run and handed something, both as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.gpu.{module}", *arguments],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(
    scope="session", params=[False, pytest.param(True, marks=pytest.mark.gpu)], ids=["", "real"]
)
def gpu(request: pytest.FixtureRequest) -> Gpu:
    """A simulated GPU and, with `-m gpu`, a real one."""
    if request.param and not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    if not request.param and not CAN_SIMULATE:
        pytest.skip("this torch cannot simulate a device")
    return Gpu(request.param)


@pytest.fixture
def simulated(gpu: Gpu) -> Gpu:
    """The simulated one alone."""
    if gpu.is_real:
        pytest.skip("a real GPU does not tell")
    return gpu
