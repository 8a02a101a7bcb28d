"""Encoders that cannot obey the plan are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import (
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    MobileBertConfig,
    MobileBertForMaskedLM,
)

from s2s_ft.model.pretrained import load_finetuned


def test_foreign_encoder_is_refused(tmp_path: Path) -> None:
    config = DebertaV2Config(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    DebertaV2ForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"deberta-v2.*attention interface.*take BERT"):
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
    MobileBertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"'mobilebert' mix each token with its neighbours"):
        load_finetuned(str(tmp_path))
