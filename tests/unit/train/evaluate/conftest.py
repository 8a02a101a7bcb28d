"""The training rows as held-out rows, and a model to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.model import pretrained
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import TrainOptions, build
from s2s_ft.text import TextCodec
from s2s_ft.train.distributed import World
from s2s_ft.train.evaluate import Validator
from tests.unit.train.evaluate.looks import CPU, SOURCE, TARGET, Load, a_method


@pytest.fixture
def options(
    data_file: Path, tmp_path: Path, tiny_checkpoint: Callable[[str], Path]
) -> Callable[..., TrainOptions]:
    """A function that gives the options of a run whose held-out rows are its training rows."""

    def make(**flags: Any) -> TrainOptions:
        usual: dict[str, Any] = {
            "train_file": str(data_file),
            "dev_file": str(data_file),
            "model_name_or_path": str(tiny_checkpoint("bert")),
            "output_dir": str(tmp_path / "out"),
            "max_source_seq_length": SOURCE,
            "max_target_seq_length": TARGET,
            "eval_batch_size": 4,
        }
        return build(TrainOptions, {**usual, **flags})

    return make


@pytest.fixture
def open_rows(
    options: Callable[..., TrainOptions], codec: TextCodec, tmp_path: Path
) -> Callable[..., Validator | None]:
    """A function that opens the held-out rows; it takes flags by name."""

    def opened(world: Any = None, method: str = "pseudo_mask", **flags: Any) -> Validator | None:
        how = a_method(method, codec)
        return Validator.of(
            options(**flags), codec, how, world or World(), CPU, tmp_path / "features"
        )

    return opened


@pytest.fixture
def load(options: Callable[..., TrainOptions], codec: TextCodec) -> Load:
    """A function that loads the tiny BERT in training mode, with dropout."""

    def loaded(method: str = "pseudo_mask") -> Seq2SeqModel:
        flags = options(fine_tuning_method=method, dropout=0.3).model
        return pretrained.load_for_training(
            flags, codec, max_source_length=SOURCE, max_target_length=TARGET
        )

    return loaded
