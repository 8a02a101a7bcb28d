"""Processes that believe they have GPUs, and those that do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import WORDS
from tests.distributed.ranks import free_port
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
        (outcomes,) = _said_by_all("commands", self._arguments, [{}], jobs)
        return list(outcomes)

    def run_together(self, jobs: list[Job], size: int) -> list[list[Outcome]]:
        """Do jobs in processes (ranks) with a GPU each.

        Returns:
            The outcomes of the ranks, of each job.
        """
        if self.is_real and torch.cuda.device_count() < size:
            pytest.skip("there are too few GPUs")
        ranks = [
            {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
            }
            for rank in range(size)
        ]
        placed = [{**each, "port": free_port()} for each in jobs]
        outcomes = _said_by_all("commands", self._arguments, ranks, placed)
        for of_rank in outcomes:
            assert len(of_rank) == len(jobs), of_rank[-1]["told"][-2000:]
        return [list(of_ranks) for of_ranks in zip(*outcomes, strict=True)]

    @property
    def _arguments(self) -> list[str]:
        return ["real"] if self.is_real else []


def said_by(module: str) -> Any:
    """What a module of this folder writes as JSON when it is run."""
    return _said_by_all(module, [], [{}], None)[0]


def _said_by_all(
    module: str, arguments: list[str], environments: list[dict[str, str]], given: Any
) -> list[Any]:
    """What processes write that run at once, each in an environment; they are handed the same."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"tests.gpu.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "HF_HUB_OFFLINE": "1", **own},
        )
        for own in environments
    ]
    try:
        with ThreadPoolExecutor() as pool:
            said = list(pool.map(lambda each: each.communicate(json.dumps(given), 600), processes))
    finally:
        for process in processes:
            process.kill()
    for process, (_, told) in zip(processes, said, strict=True):
        assert process.returncode == 0, told[-4000:]
    # In the last line, since gloo of torch 2.10 writes there, too.
    return [json.loads(written.splitlines()[-1]) for written, _ in said]


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


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-eight rows of words that the tiny tokenizer knows."""
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    rows = [
        {
            "src": " ".join(WORDS[row % 20 : row % 20 + 3 + row % 9]),
            "tgt": " ".join(WORDS[row % 20 : row % 20 + 1 + row % 6]),
        }
        for row in range(48)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def job(data: Path, tiny_checkpoint: Callable[[str], Path]) -> Callable[..., Job]:
    """A function that gives the job of a run of six updates."""

    def make(output: Path, *flags: str, family: str = "bert") -> Job:
        names = {"TEACHER": str(tiny_checkpoint("bert")), "DATA": str(data)}
        arguments = [
            *("--model_name_or_path", str(tiny_checkpoint(family)), "--train_file", str(data)),
            *("--output_dir", str(output), "--num_training_steps", "6", "--save_steps", "3"),
            *("--max_source_seq_length", "12", "--max_target_seq_length", "6"),
            *("--per_gpu_train_batch_size", "8", "--learning_rate", "1e-3", "--logging_steps", "1"),
            # Gradients that are zero but for rounding, as those of a key's bias, must not count.
            *("--adam_epsilon", "1e-4", "--dropout", "0"),
            *(names.get(each, each) for each in flags),
        ]
        return {"command": "train", "arguments": arguments}

    return make
