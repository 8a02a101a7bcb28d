"""How much is decoded at a time, by what was asked for; and words that a model does not know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s2s_ft.decode.search.requests import Budget
from s2s_ft.decode.wishes import CPU_TOKENS, UNLIMITED, budget_of, search_settings
from s2s_ft.options import DecodeOptions, build
from s2s_ft.options.decode import DecodeRuntimeOptions
from s2s_ft.text import TextCodec


@pytest.mark.parametrize(
    ("device", "beam_size", "asked", "budget"),
    [
        ("cpu", 1, {}, Budget(128, CPU_TOKENS)),
        ("cpu", 5, {}, Budget(64, CPU_TOKENS)),
        ("cuda", 1, {}, Budget(128)),
        ("cuda", 5, {}, Budget(128)),
        ("cpu", 1, {"batch_size": 500}, Budget(500)),
        ("cpu", 5, {"max_tokens_per_batch": 900}, Budget(UNLIMITED, 900)),
        ("cuda", 5, {"max_tokens_per_batch": 900, "batch_size": 3}, Budget(3, 900)),
    ],
)
def test_only_a_batch_that_nobody_sized_is_sized_by_the_device(
    device: str, beam_size: int, asked: dict[str, int], budget: Budget
) -> None:
    options = DecodeRuntimeOptions(**asked)
    assert budget_of(options, torch.device(device), beam_size=beam_size) == budget


def test_a_model_without_line_breaks_takes_the_flags_of_old_commands(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    flags = {"model_path": "m", "input_file": "f", "forbid_ignore_word": ".|[X_SEP]"}
    options = build(DecodeOptions, flags)
    options = replace(options, search=options.search.filled())
    settings = search_settings(options, TextCodec.load(str(tmp_path)), max_length=5)
    assert settings.ignore_ids == (5,)
    assert "--forbid_ignore_word: this model never writes [X_SEP]" in caplog.text
