"""Encoders that cannot obey the plan are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    MobileBertConfig,
    MobileBertForMaskedLM,
)

from s2s_ft.model.pretrained import describe_suitable, load_finetuned


def test_foreign_encoder_is_refused(tmp_path: Path) -> None:
    config = DebertaV2Config(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    DebertaV2ForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"^--model_path .*deberta-v2.*attention interface.*take"):
        load_finetuned(str(tmp_path))


def test_an_encoder_that_mixes_tokens_outside_of_attention_is_refused(tmp_path: Path) -> None:
    """MobileBERT's embedding of a token holds those of its neighbours."""
    config = MobileBertConfig(
        vocab_size=40,
        hidden_size=32,
        embedding_size=32,
        intra_bottleneck_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    torch.manual_seed(0)  # with some weights, so small an encoder gives the same in any company
    MobileBertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"^--model_path .*'mobilebert' mix each token with its"):
        load_finetuned(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("bart", "they have a decoder of their own, and an encoder alone is needed"),
        ("t5", "they have a decoder of their own, and an encoder alone is needed"),
        ("gpt2", "they have no masked-LM head"),
    ],
)
def test_a_config_tells_why_its_family_is_refused(tmp_path: Path, kind: str, reason: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^--flag {tmp_path}: .*'{kind}' .*: {reason}; take"):
        describe_suitable(str(tmp_path), None, "--flag")


def test_an_encoder_whose_layers_do_not_get_the_plan_is_named(tmp_path: Path) -> None:
    config = AlbertConfig(
        vocab_size=40, embedding_size=8, hidden_size=32, num_attention_heads=2, intermediate_size=32
    )
    AlbertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"^--model_path {tmp_path}: encoders of type 'albert' "):
        load_finetuned(str(tmp_path))
