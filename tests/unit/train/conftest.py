"""A model small enough to follow by hand, in the place of an encoder, and what trains it."""

from __future__ import annotations

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
from s2s_ft.text import TextCodec
from s2s_ft.train.loop import TrainingData, TrainState
from s2s_ft.train.optimizer import make_optimizer
from s2s_ft.train.precision import choose_precision
from s2s_ft.train.schedule import Schedule

CPU = torch.device("cpu")


class WordModel(nn.Module):
    """Predicts each supervised row from the token that stands there, through dropout."""

    def __init__(self, vocab_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, 8)
        self.LayerNorm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(8, vocab_size)

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

    def make(micro_batch_size: int = 4, name: str = "pseudo_mask") -> TrainingData:
        method = method_named(
            name, special=codec.special, max_source_length=12, max_target_length=6
        )
        return TrainingData(store, method, 7, micro_batch_size, CPU)

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
            **changes,
        }
        optimizer = make_optimizer(model.named_parameters(), weight_decay=0.01, epsilon=1e-8)
        return TrainState(model=model, optimizer=optimizer, **settings)

    return make
