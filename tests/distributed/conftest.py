"""A small training for several ranks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.conftest import WORDS

Flags = Callable[..., list[object]]


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen training rows of different lengths, for all runs."""
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    texts = [(WORDS[row : row + 4 + row % 9], WORDS[row : row + 1 + row % 4]) for row in range(16)]
    lines = [json.dumps({"src": " ".join(src), "tgt": " ".join(tgt)}) for src, tgt in texts]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def flags(tiny_checkpoint: Callable[[str], Path], rows: Path) -> Flags:
    """A function that gives the flags of a run in a folder: nine updates, three to an epoch.

    An update has 6 examples in micro-batches of 2, the last one of an epoch has 4: that divides
    evenly by no number of ranks but one.
    """

    def make(output_dir: Path, *more: object) -> list[object]:
        return [
            *("--train_file", rows, "--model_name_or_path", tiny_checkpoint("bert")),
            *("--output_dir", output_dir, "--no_cuda", "--dropout", 0.1),
            *("--max_source_seq_length", 14, "--max_target_seq_length", 6),
            *("--global_batch_size", 6, "--per_gpu_train_batch_size", 2),
            *("--num_training_steps", 9, "--learning_rate", 1e-3, "--save_steps", 5),
            # The gradient of a key's bias is rounding and nothing else; a small epsilon would make
            # steps of full length of it.
            *("--logging_steps", 2, "--adam_epsilon", 1e-3),
            *more,
        ]

    return make


def assert_close(one: Path, other: Path, tolerance: float = 1e-6) -> None:
    """Two checkpoints hold the same weights and the same moments of their gradients."""
    for name in ("model.safetensors", "optimizer.safetensors"):
        first, second = load_file(one / name), load_file(other / name)
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert value.shape == second[key].shape
            difference = float((value - second[key]).abs().max())
            assert difference <= tolerance, f"{name}: {key} differs by {difference}"


def assert_equal(one: Path, other: Path) -> None:
    """Two checkpoints are equal to the last bit."""
    assert_close(one, other, 0.0)
