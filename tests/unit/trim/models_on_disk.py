"""Tiny random fine-tuned models of the families whose tokenizers are trimmed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForMaskedLM

from s2s_ft.text import TextCodec
from tests.unit.text.tokenizers_on_disk import (
    byte_level,
    sentence_piece_bpe,
    split_bytes,
    unigram,
    word_piece,
)

FAMILIES: dict[str, Callable[[Path], Path]] = {
    "bert": word_piece,
    "roberta": byte_level,
    "modernbert": split_bytes,
    "xlm-roberta": unigram,
    "eurobert": sentence_piece_bpe,
}
EUROBERT = {"num_key_value_heads": 2, "head_dim": 8, "mask_token_id": 4}
BLOCK = {"method": "pseudo_mask", "max_source_length": 64, "max_target_length": 12}


def fine_tuned(folder: Path, family: str, **changes: Any) -> Path:
    """A checkpoint with its tokenizer; its vocabulary has three rows more than that."""
    FAMILIES[family](folder)
    special = TextCodec.load(folder).special
    config: dict[str, Any] = {
        "vocab_size": special.vocab_size + 3,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 130,
        "initializer_range": 0.3,
        "pad_token_id": special.pad,
        "bos_token_id": special.cls,
        "eos_token_id": special.sep,
        "s2s_ft": BLOCK,
        **({"cls_token_id": 0, "sep_token_id": 2} if family == "modernbert" else {}),
        **(EUROBERT if family == "eurobert" else {}),
        **({"type_vocab_size": 1} if "roberta" in family else {}),
    }
    torch.manual_seed(3)
    made = CONFIG_MAPPING[family](**{**config, **changes})
    model = AutoModelForMaskedLM.from_config(made)
    with torch.no_grad():  # biases start at 0, which would hide where they go
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    model.save_pretrained(folder)
    generation = {"pad_token_id": special.pad, "eos_token_id": special.sep, "max_new_tokens": 12}
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    return folder
