"""Training on two GPUs, simulated: the weights of one process on the CPU."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gpu.conftest import Gpu, Job, Outcome
from tests.gpu.outcomes import (
    assert_close,
    assert_no_needless_wait,
    figures,
    waits_for_numbers,
)
from tests.unit.train.runs import assert_same_checkpoint, metrics

COMMON = ["--global_batch_size", "8", "--per_gpu_train_batch_size", "4"]

LOOKS = ["--dev_file", "DATA", "--eval_steps", "2", "--eval_beam_size", "3"]

WAYS = {
    "whole": [],
    "accumulation": ["--per_gpu_train_batch_size", "2"],
    "token budget": ["--max_tokens_per_batch", "40"],
    "gradient checkpointing": ["--gradient_checkpointing"],
    "gradual unfreezing": ["--unfreeze_steps", "2"],
    "adapter": ["--peft", "lora"],
    "teacher": ["--teacher_model", "TEACHER"],
    "batch size found": ["--auto_batch_size"],
    "dev set": LOOKS,
    "sharded": ["--fsdp"],
    "sharded, accumulation": ["--fsdp", "--per_gpu_train_batch_size", "2"],
    "sharded, gradient checkpointing": ["--fsdp", "--gradient_checkpointing"],
    "sharded, dev set": ["--fsdp", *LOOKS],
}

Runs = dict[str, tuple[Path, Path, list[Outcome]]]


@pytest.fixture(scope="module")
def runs(gpu: Gpu, job: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Of each way: the run of one process on the CPU, the run on two GPUs, and the outcome of that
    on each rank.
    """
    folder = tmp_path_factory.mktemp("runs")
    alone, together = [], []
    for name, flags in WAYS.items():
        of_one = [flag for flag in flags if flag != "--fsdp"]
        alone.append(job(folder / f"{name} cpu", *COMMON, *of_one, "--no_cuda"))
        together.append(job(folder / f"{name} gpus", *COMMON, *flags, "--deterministic"))
    outcomes = gpu.run_together(together, 2)
    for each in [*gpu.run(alone), *(rank for ranks in outcomes for rank in ranks)]:
        assert each["code"] == 0, each["told"][-2000:]
    return {
        name: (folder / f"{name} cpu", folder / f"{name} gpus", ranks)
        for name, ranks in zip(WAYS, outcomes, strict=True)
    }


@pytest.mark.parametrize("name", WAYS)
def test_weights_are_those_of_one_process(gpu: Gpu, runs: Runs, name: str) -> None:
    on_cpu, on_gpus, (main, other) = runs[name]
    assert re.search(r"2 processes, this one on cuda:0 \(.+\), float32", main["told"])
    assert "update" not in other["told"]
    assert_close(on_gpus, on_cpu, 2e-4 if gpu.is_real else 2e-6)


@pytest.mark.usefixtures("simulated")
@pytest.mark.parametrize("name", WAYS)
def test_no_rank_waits_but_for_numbers_that_have_been_computed(runs: Runs, name: str) -> None:
    # Where weights are frozen, torch asks which of them no rank has used.
    asks = ("train/precision.py:backward",) if name == "gradual unfreezing" else ()
    for outcome in runs[name][2]:
        assert_no_needless_wait(outcome, *asks)
        if "dev set" not in name:
            assert waits_for_numbers(outcome) == 6


@pytest.mark.parametrize("name", ["dev set", "sharded, dev set"])
def test_what_a_look_at_the_dev_set_finds(runs: Runs, name: str) -> None:
    ours, theirs = (metrics(run, "look") for run in runs[name][:2])
    assert len(ours) == 3
    for our, their in zip(ours, theirs, strict=True):
        assert figures(our) == pytest.approx(figures(their), rel=1e-3)


@pytest.mark.parametrize("way", [["--bf16"], ["--bf16", "--fsdp"], ["--fp16"]], ids=" ".join)
def test_lower_precisions(
    gpu: Gpu, job: Callable[..., Job], tmp_path: Path, way: list[str]
) -> None:
    (alone,) = gpu.run([job(tmp_path / "alone", *COMMON, way[0])])
    (ranks,) = gpu.run_together([job(tmp_path / "ranks", *COMMON, *way)], 2)
    assert [each["code"] for each in (alone, *ranks)] == [0, 0, 0]
    ours, theirs = (metrics(tmp_path / name) for name in ("ranks", "alone"))
    # float16 leaves out the first updates, as many as it takes until the loss is scaled right.
    for our, their in zip(ours[:2], theirs[:2], strict=True):
        assert our["loss"] == pytest.approx(their["loss"], rel=2e-3)
    for each in ranks:
        assert_no_needless_wait(each)


@pytest.mark.parametrize("way", [[], ["--fp16"], ["--fsdp"]], ids=["whole", "fp16", "sharded"])
def test_a_resumed_run_is_the_uninterrupted_one(
    gpu: Gpu, job: Callable[..., Job], tmp_path: Path, way: list[str]
) -> None:
    whole = job(tmp_path / "run", *COMMON, "--dropout", "0.1", "--deterministic", *way)
    (first,) = gpu.run_together([whole], 2)
    assert [each["code"] for each in first] == [0, 0]
    (tmp_path / "run" / "ckpt-6").rename(tmp_path / "uninterrupted")
    ((main, other),) = gpu.run_together([whole], 2)
    assert (main["code"], other["code"]) == (0, 0)
    assert "ckpt-3" in main["told"]
    assert_same_checkpoint(tmp_path / "run" / "ckpt-6", tmp_path / "uninterrupted")


@pytest.mark.parametrize("way", [[], ["--fsdp"]], ids=["whole", "sharded"])
def test_a_loss_that_is_no_number_stops_all_ranks(
    gpu: Gpu, job: Callable[..., Job], tmp_path: Path, way: list[str]
) -> None:
    given = job(tmp_path / "run", *COMMON, "--learning_rate", "1e30", *way)
    for outcome in gpu.run_together([given], 2)[0]:
        assert outcome["code"] == 3
        assert "nothing was stepped" in outcome["told"]
    assert not (tmp_path / "run" / "ckpt-6").exists()
