"""What looks at held-out rows are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from s2s_ft.methods import Method, method_named
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import TextCodec
from s2s_ft.train.dev_report import DevReport
from s2s_ft.train.evaluate import Validator
from s2s_ft.train.precision import Precision, choose_precision

CPU = torch.device("cpu")
SOURCE, TARGET = 14, 6
METHODS = ("causal", "masked", "pseudo_mask")
Open = Callable[..., Validator]
Load = Callable[..., Seq2SeqModel]


def a_method(name: str, codec: TextCodec) -> Method:
    return method_named(
        name, special=codec.special, max_source_length=SOURCE, max_target_length=TARGET
    )


def arithmetic(*, bf16: bool = False) -> Precision:
    return choose_precision(CPU, fp16=False, bf16=bf16, fp16_opt_level="O1")


def nothing() -> None:
    """No signal has come."""


def look(validator: Validator, model: Seq2SeqModel, **changes: Any) -> DevReport:
    report = validator.look(model, changes.get("precision", arithmetic()), 7, nothing)
    assert report is not None
    return report
