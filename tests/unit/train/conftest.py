"""A model small enough to follow by hand, in the place of an encoder, and what trains it; and a
whole run of a tiny encoder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2s_ft.data.features import FeatureStore, build_or_open
from s2s_ft.layout import Batch
from s2s_ft.methods import method_named
from s2s_ft.options import TrainOptions, build
from s2s_ft.text import TextCodec
from s2s_ft.train import arithmetic
from s2s_ft.train.distributed import World
from s2s_ft.train.feed import TrainingData
from s2s_ft.train.optimizer import make_optimizer
from s2s_ft.train.precision import choose_precision
from s2s_ft.train.run import train
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.step import TrainState
from tests.unit.train.runs import STEPS, Train

CPU = torch.device("cpu")


class WordModel(nn.Module):
    """Predicts each supervised row from the token that stands there, through dropout."""

    def __init__(self, vocab_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, 8)
        self.LayerNorm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(8, vocab_size)

    def forward(self, batch: Batch, label_smoothing: float, scale: Tensor | float = 1.0) -> Tensor:
        return self.loss(batch, label_smoothing) * scale

    def loss(self, batch: Batch, label_smoothing: float) -> Tensor:
        hidden = self.LayerNorm(self.words(batch.ids.reshape(-1)[batch.supervised]))
        logits = self.output(self.dropout(hidden))
        return F.cross_entropy(
            logits, batch.labels, reduction="sum", label_smoothing=label_smoothing
        )


@pytest.fixture
def codec(tiny_tokenizer_folder: Path) -> TextCodec:
    return TextCodec.load(str(tiny_tokenizer_folder))


@pytest.fixture
def store(codec: TextCodec, data_file: Path, tmp_path: Path) -> FeatureStore:
    return build_or_open(data_file, codec, folder=tmp_path / "features")


@pytest.fixture
def make_data(codec: TextCodec, store: FeatureStore) -> Callable[..., TrainingData]:
    """A function that gives the sixteen rows, cut into micro-batches of a size."""

    def make(micro_batch_size: int = 4, name: str = "pseudo_mask", **changes: Any) -> TrainingData:
        method = method_named(
            name, special=codec.special, max_source_length=12, max_target_length=6
        )
        return TrainingData(
            store=store,
            method=method,
            seed=7,
            micro_batch_size=micro_batch_size,
            device=CPU,
            **changes,
        )

    return make


@pytest.fixture
def make_state(codec: TextCodec) -> Callable[..., TrainState]:
    """A function that gives a fresh state of the small model, always with the same weights."""

    def make(dropout: float = 0.0, **changes: Any) -> TrainState:
        torch.manual_seed(3)
        model = WordModel(codec.special.vocab_size, dropout)
        settings: dict[str, Any] = {
            "precision": choose_precision(CPU, fp16=False, bf16=False, fp16_opt_level="O1"),
            "schedule": Schedule(
                total_steps=10, steps_per_epoch=4, global_batch_size=4, warmup_steps=0
            ),
            "peak_learning_rate": 0.01,
            "max_grad_norm": 1.0,
            "label_smoothing": 0.1,
            "seed": 7,
            "world": World(),
            **changes,
        }
        optimizer = make_optimizer(model.named_parameters(), weight_decay=0.01, epsilon=1e-8)
        return TrainState(model=model, network=model, optimizer=optimizer, **settings)

    return make


@pytest.fixture
def _quiet_surroundings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing but the test decides how a run goes, and what it logs is kept."""
    monkeypatch.setattr(arithmetic, "fast_float32_matmul", lambda: "highest")
    for name in ("WORLD_SIZE", "SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    caplog.set_level(logging.INFO)


@pytest.fixture
def output_dir(tmp_path: Path) -> Path:
    """Where `run` runs."""
    return tmp_path / "out"


@pytest.fixture
def run(
    tiny_checkpoint: Callable[[str], Path],
    data_file: Path,
    output_dir: Path,
    _quiet_surroundings: None,
) -> Train:
    """A function that trains the tiny BERT with dropout 0.1; it takes flags by name."""

    def start(**flags: Any) -> int:
        usual: dict[str, Any] = {
            "train_file": str(data_file),
            "model_name_or_path": str(tiny_checkpoint("bert")),
            "output_dir": str(output_dir),
            "max_source_seq_length": 14,
            "max_target_seq_length": 6,
            "per_gpu_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "num_training_steps": STEPS,
            "num_warmup_steps": 2,
            "learning_rate": 1e-3,
            "dropout": 0.1,
            "save_steps": 0,
            "logging_steps": 2,
            "no_cuda": True,
        }
        return train(build(TrainOptions, {**usual, **flags}))

    return start
