"""Fixtures shared by all tests: a 40-word tokenizer and tiny random checkpoints of every family,
written to disk.

Notable: nothing is fetched; a checkpoint is a real folder in its family's own format, loaded as a
user's would be.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import CONFIG_MAPPING, AutoModelForMaskedLM, PreTrainedTokenizerFast

from tests.formats.encoders import fused

WORDS = [
    "a",
    "an",
    "and",
    "by",
    "code",
    "data",
    "debian",
    "file",
    "files",
    "for",
    "free",
    "from",
    "game",
    "games",
    "gnu",
    "in",
    "is",
    "it",
    "library",
    "linux",
    "modules",
    "network",
    "of",
    "on",
    "perl",
    "program",
    "python",
    "server",
    "simple",
    "system",
    "that",
    "the",
    "this",
    "to",
    "tool",
    "tools",
    "with",
]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

VOCABULARY = (*SPECIAL, *WORDS, ".", ",", "##s", "##e")

FAMILIES = (
    "bert",
    "roberta",
    "xlm-roberta",
    "electra",
    "camembert",
    "ernie",
    "eurobert",
    "modernbert",
    "unilm",
    "minilm",
)

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WordPiece tokenizer over `VOCABULARY`, lower-casing."""
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {word: number for number, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)
    return folder


def tiny_config(family: str, **changes: Any) -> dict[str, Any]:
    """The config of a two-layer encoder of a family, as its `config.json` holds it."""
    config: dict[str, Any] = {
        "model_type": family,
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "pad_token_id": 0,
        "initializer_range": 0.3,
    }
    special: dict[str, dict[str, Any]] = {
        "roberta": {"type_vocab_size": 1},
        "xlm-roberta": {"type_vocab_size": 1},
        "camembert": {"type_vocab_size": 1},
        "electra": {"embedding_size": 16},
        "eurobert": {"num_key_value_heads": 2, "head_dim": 8, "mask_token_id": 4},
        "modernbert": {
            "num_hidden_layers": 3,
            "global_attn_every_n_layers": 2,
            "local_attention": 8,
            "cls_token_id": 2,
            "sep_token_id": 3,
            "bos_token_id": 2,
            "eos_token_id": 3,
        },
        "unilm": {
            "type_vocab_size": 6,
            "source_type_id": 4,
            "target_type_id": 5,
            "rel_pos_bins": 32,
            "max_rel_pos": 16,
        },
    }
    return {**config, **special.get(family, {}), **changes}


def write_checkpoint(folder: Path, family: str, tokenizer: Path, **changes: Any) -> Path:
    """A random checkpoint of a family in its own format, with the tiny tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(family, **changes)
    torch.manual_seed(hash_of(family))
    if family in ("unilm", "minilm"):
        _write_bert_by_another_name(folder, config)
    else:
        known = {name: value for name, value in config.items() if name != "model_type"}
        encoder = AutoModelForMaskedLM.from_config(CONFIG_MAPPING[family](**known))
        encoder.save_pretrained(folder)
    for file in tokenizer.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def hash_of(family: str) -> int:
    """A seed that is the same in every process."""
    return sum(map(ord, family))


def _write_bert_by_another_name(folder: Path, config: dict[str, Any]) -> None:
    """UniLM's own format: fused projections, old LayerNorm names, a relative-position bias."""
    known = {name: value for name, value in config.items() if name != "model_type"}
    weights = dict(AutoModelForMaskedLM.from_config(CONFIG_MAPPING["bert"](**known)).state_dict())
    weights.pop("cls.predictions.decoder.weight")
    weights.pop("cls.predictions.decoder.bias")
    if config["model_type"] == "unilm":
        weights = fused(weights, config)
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in weights.items()
    }
    save_file(
        {name: tensor.contiguous() for name, tensor in renamed.items()},
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_folder: Path
) -> Callable[[str], Path]:
    """A function that gives the folder of a tiny checkpoint of a family; made once, not to be
    changed.
    """
    made: dict[str, Path] = {}

    def checkpoint(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp("checkpoints") / family
            made[family] = write_checkpoint(folder, family, tiny_tokenizer_folder)
        return made[family]

    return checkpoint


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """Sixteen training rows over the tiny vocabulary, of different lengths."""
    path = tmp_path / "train.jsonl"
    rows = [
        {
            "src": " ".join(WORDS[row : row + 4 + row % 9]) + " .",
            "tgt": " ".join(WORDS[row : row + 1 + row % 4]),
        }
        for row in range(16)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
