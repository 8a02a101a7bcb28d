"""Training on a GPU, simulated: the weights of a run on the CPU, and no wait in an update."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.gpu.conftest import Gpu, Job, Outcome
from tests.gpu.outcomes import (
    assert_close,
    assert_no_needless_wait,
    figures,
    waits_for_numbers,
)
from tests.unit.train.runs import assert_same_checkpoint, metrics

WAYS: dict[str, tuple[str, list[str]]] = {
    "pseudo_mask": ("bert", []),
    "causal": ("bert", ["--fine_tuning_method", "causal"]),
    "masked": ("bert", ["--fine_tuning_method", "masked"]),
    "roberta": ("roberta", []),
    "xlm-roberta": ("xlm-roberta", ["--fine_tuning_method", "causal"]),
    "electra": ("electra", []),
    "modernbert": ("modernbert", []),
    "eurobert": ("eurobert", []),
    "unilm": ("unilm", []),
    "accumulation": ("bert", ["--gradient_accumulation_steps", "3"]),
    "token budget": ("bert", ["--max_tokens_per_batch", "60"]),
    "gradient checkpointing": ("bert", ["--gradient_checkpointing"]),
    "gradual unfreezing": ("bert", ["--unfreeze_steps", "2"]),
    "decaying rates": ("bert", ["--layer_decay", "0.8"]),
    "adapter": ("bert", ["--peft", "lora"]),
    "teacher": ("bert", ["--teacher_model", "TEACHER"]),
    "batch size found": ("bert", ["--auto_batch_size"]),
    "dev set": ("bert", ["--dev_file", "DATA", "--eval_steps", "2", "--eval_beam_size", "3"]),
}
"""Family and flags."""

MOST_BYTES = 170_000
"""Room for the two moments of AdamW in one piece, and for the attention weights of 24 rows."""

Runs = dict[str, tuple[Path, Path, Outcome]]


@pytest.fixture(scope="module")
def runs(gpu: Gpu, job: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Of each way: the run on the CPU, the run on the GPU, and the outcome of that."""
    folder = tmp_path_factory.mktemp("runs")
    jobs = []
    for name, (family, flags) in WAYS.items():
        jobs.append(job(folder / f"{name} cpu", *flags, "--no_cuda", family=family))
        # Which also refuses what has no deterministic kernel.
        jobs.append(job(folder / f"{name} gpu", *flags, "--deterministic", family=family))
    outcomes = gpu.run(jobs)
    assert [each["told"][-2000:] for each in outcomes if each["code"] != 0] == []
    return {
        name: (folder / f"{name} cpu", folder / f"{name} gpu", outcome)
        for name, outcome in zip(WAYS, outcomes[1::2], strict=True)
    }


@pytest.mark.parametrize("name", WAYS)
def test_weights_are_those_of_a_run_on_the_cpu(gpu: Gpu, runs: Runs, name: str) -> None:
    on_cpu, on_gpu, outcome = runs[name]
    assert re.search(r"training on cuda:0 \(.+\), float32", outcome["told"])
    assert_close(on_gpu, on_cpu, 2e-4 if gpu.is_real else 2e-6)


@pytest.mark.usefixtures("simulated")
@pytest.mark.parametrize("name", WAYS)
def test_the_host_waits_for_nothing_but_numbers_that_have_been_computed(
    runs: Runs, name: str
) -> None:
    _, _, outcome = runs[name]
    assert_no_needless_wait(outcome)
    if name != "dev set":
        assert waits_for_numbers(outcome) == 6


def test_what_a_look_at_the_dev_set_finds(runs: Runs) -> None:
    on_cpu, on_gpu, _ = runs["dev set"]
    ours, theirs = (metrics(run, "look") for run in (on_gpu, on_cpu))
    assert len(ours) == 3
    for our, their in zip(ours, theirs, strict=True):
        assert figures(our) == pytest.approx(figures(their), rel=1e-3)


@pytest.mark.parametrize("flag", ["--bf16", "--fp16"])
def test_lower_precisions(gpu: Gpu, job: Callable[..., Job], tmp_path: Path, flag: str) -> None:
    lower, full = gpu.run([job(tmp_path / "lower", flag), job(tmp_path / "full")])
    assert (lower["code"], full["code"]) == (0, 0)
    ours, theirs = (metrics(tmp_path / name) for name in ("lower", "full"))
    # float16 leaves out the first updates, until the loss is scaled as it must be.
    for our, their in zip(ours[:2], theirs[:2], strict=True):
        assert our["loss"] != their["loss"]
        assert our["loss"] == pytest.approx(their["loss"], rel=2e-3)
    assert_no_needless_wait(lower)


@pytest.mark.parametrize("flags", [[], ["--fp16"]])
def test_a_resumed_run_is_the_uninterrupted_one(
    gpu: Gpu, job: Callable[..., Job], tmp_path: Path, flags: list[str]
) -> None:
    whole = job(tmp_path / "run", "--dropout", "0.1", "--deterministic", *flags)
    assert [each["code"] for each in gpu.run([whole])] == [0]
    (tmp_path / "run" / "ckpt-6").rename(tmp_path / "uninterrupted")
    (outcome,) = gpu.run([whole])
    assert outcome["code"] == 0
    assert "ckpt-3" in outcome["told"]
    assert_same_checkpoint(tmp_path / "run" / "ckpt-6", tmp_path / "uninterrupted")


def test_too_little_memory(simulated: Gpu, job: Callable[..., Job], tmp_path: Path) -> None:
    """Told with what to lower; a size that fits is found, and what is learnt stays the same."""
    large = ("--per_gpu_train_batch_size", "48")
    names = ("whole", "found", "failed")
    whole, found, failed = (
        job(tmp_path / name, *large, *(["--auto_batch_size"] if name == "found" else []))
        for name in names
    )
    short = {"most_bytes": MOST_BYTES}
    _, of_found, of_failed = simulated.run([whole, {**found, **short}, {**failed, **short}])
    assert of_failed["code"] == 1
    assert "out of memory (CUDA out of memory" in of_failed["told"]
    assert "lower --per_gpu_train_batch_size (48 now)" in of_failed["told"]
    assert of_found["code"] == 0
    assert "--auto_batch_size: 24 of the longest examples fit" in of_found["told"]
    ours, theirs = (
        load_file(tmp_path / name / "ckpt-6" / "model.safetensors") for name in names[:2]
    )
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-4, atol=2e-6, msg=key)


def test_a_loss_that_is_no_number_stops_the_run(
    gpu: Gpu, job: Callable[..., Job], tmp_path: Path
) -> None:
    (outcome,) = gpu.run([job(tmp_path / "run", "--learning_rate", "1e30")])
    assert outcome["code"] == 3
    assert "nothing was stepped" in outcome["told"]
    assert not (tmp_path / "run" / "ckpt-6").exists()
