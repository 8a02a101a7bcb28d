"""The encoders: a config and random weights of each family, under the names and in the files that
the family is published with.

Notable: sizes are tiny, everything else is real: which head the files hold, what they hold besides,
old LayerNorm names, prefixes, shards, `.bin` or safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    CONFIG_MAPPING,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    PreTrainedModel,
)

Weights = dict[str, Tensor]

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
BERT_LIKE = {**SIZES, "model_type": "bert", "type_vocab_size": 2, "pad_token_id": 0}
ROBERTA_LIKE = {
    **SIZES,
    "max_position_embeddings": 66,
    "type_vocab_size": 1,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "layer_norm_eps": 1e-5,
}


def made(kind: Any, config: dict[str, Any]) -> PreTrainedModel:
    """A random model of a config, its embedding of `[PAD]` too."""
    fields = {name: value for name, value in config.items() if name != "model_type"}
    torch.manual_seed(sum(map(ord, str(config["model_type"]))))
    model: PreTrainedModel = kind.from_config(CONFIG_MAPPING[config["model_type"]](**fields))
    return model


def put(folder: Path, config: dict[str, Any], weights: Weights, file: str) -> None:
    """Write a config, unless it lies elsewhere, and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = file.removesuffix(".bin")
    name = "config.json" if file.startswith(("model", "pytorch")) else f"{stem}-config.json"
    (folder / name).write_text(json.dumps(config, indent=2), encoding="utf-8")
    weights = {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}
    if file.endswith(".bin"):
        torch.save(weights, folder / file)
    else:
        save_file(weights, folder / file, metadata={"format": "pt"})


def with_old_norms(weights: Weights) -> Weights:
    """LayerNorm weights under their first names."""
    return {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in weights.items()
    }


def pretraining_bert(folder: Path, size: int) -> None:
    """bert-base-uncased: both heads of pretraining, a pooler, a tied copy, old names."""
    config = {**BERT_LIKE, "vocab_size": size, "architectures": ["BertForMaskedLM"]}
    weights = with_old_norms(made(AutoModelForPreTraining, config).state_dict())
    put(folder, config, weights, "model.safetensors")


def masked_lm(file: str, **changes: Any) -> Callable[[Path, int], None]:
    """A family whose files hold just what its masked-LM class has."""

    def write(folder: Path, size: int) -> None:
        config = {**changes, "vocab_size": size}
        put(folder, config, dict(made(AutoModelForMaskedLM, config).state_dict()), file)

    return write


def body_only(folder: Path, size: int) -> None:
    """Multilingual MiniLM: BERT's body without a prefix and a head, rows beyond the tokenizer's."""
    config = {**BERT_LIKE, "vocab_size": size + 35, "tokenizer_class": "XLMRobertaTokenizer"}
    put(folder, config, dict(made(AutoModel, config).state_dict()), "pytorch_model.bin")


def discriminator(folder: Path, size: int) -> None:
    """ELECTRA's discriminator: no masked-LM head, but one that tells true tokens from others."""
    config = {**BERT_LIKE, "model_type": "electra", "embedding_size": 16, "vocab_size": size}
    config["architectures"] = ["ElectraForPreTraining"]
    put(
        folder,
        config,
        dict(made(AutoModelForPreTraining, config).state_dict()),
        "pytorch_model.bin",
    )


def in_shards(folder: Path, size: int) -> None:
    """XLM-R in two files and an index."""
    config = {**ROBERTA_LIKE, "model_type": "xlm-roberta", "vocab_size": size}
    made(AutoModelForMaskedLM, config).save_pretrained(folder, max_shard_size="60KB")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert (folder / "model.safetensors.index.json").is_file()


def as_published(**changes: Any) -> Callable[[Path, int], None]:
    """A family whose class itself writes the format that it is published in."""

    def write(folder: Path, size: int) -> None:
        config = {**changes, "vocab_size": size}
        made(AutoModelForMaskedLM, config).save_pretrained(folder)

    return write


def bert_by_name(stem: str, **changes: Any) -> Callable[[Path, int], None]:
    """UniLM and MiniLM: `NAME.bin`, `NAME-config.json` and a vocabulary; old names, BERT's head."""

    def write(folder: Path, size: int) -> None:
        config = {**BERT_LIKE, **changes, "vocab_size": size}
        weights = dict(made(AutoModelForMaskedLM, {**config, "model_type": "bert"}).state_dict())
        weights.pop("cls.predictions.decoder.bias")
        if config.get("rel_pos_bins"):
            weights = fused(weights, config)
        if config["model_type"] is None:
            config.pop("model_type")  # UniLM's released configs name no family
        put(folder, config, with_old_norms(weights), f"{stem}.bin")

    return write


def fused(weights: Weights, config: dict[str, Any]) -> Weights:
    """UniLMv2: one projection for queries, keys and values, no key bias, relative positions."""
    weights = dict(weights)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"bert.encoder.layer.{layer}.attention.self"
        parts = [weights.pop(f"{prefix}.{part}.weight") for part in ("query", "key", "value")]
        weights[f"{prefix}.qkv_linear.weight"] = torch.cat(parts)
        weights.pop(f"{prefix}.key.bias")
        for part, name in (("query", "q_bias"), ("value", "v_bias")):
            weights[f"{prefix}.{name}"] = weights.pop(f"{prefix}.{part}.bias").view(1, 1, -1)
    heads, bins = config["num_attention_heads"], config["rel_pos_bins"]
    weights["bert.encoder.rel_pos_bias.weight"] = torch.randn(heads, bins)
    return weights


def fine_tuned(family: str, mask_way: str, **changes: Any) -> Callable[[Path, int], None]:
    """What the original toolkit saves: BERT's names, no tokenizer, `train_opt.json` above it."""
    no_types = family in ("roberta", "xlm-roberta")

    def write(folder: Path, size: int) -> None:
        config = {
            **BERT_LIKE,
            **changes,
            "vocab_size": size,
            "vocab_size_or_config_json_file": size,
        }
        kind = "WithPseudoMask" if mask_way == "v2" else "UniLMV1"
        config |= {
            "architectures": [f"BertForSequenceToSequence{kind}"],
            "vocab_size_or_config_json_file": size,
            "label_smoothing": 0.1,
            "fix_word_embedding": False,
            "type_vocab_size": 0 if no_types else config["type_vocab_size"],
        }
        buildable = {name: value for name, value in config.items() if name != "type_vocab_size"}
        encoder = made(AutoModelForMaskedLM, buildable)
        weights = dict(encoder.state_dict())
        weights["cls.predictions.decoder_weight"] = weights.pop("cls.predictions.decoder.weight")
        weights.pop("cls.predictions.decoder.bias")
        weights["crit_mask_lm_smoothed.one_hot"] = torch.full((1, size), 0.1 / (size - 2))
        types = "bert.embeddings.token_type_embeddings.weight"
        if no_types:
            weights.pop(types)
        else:
            weights[types] = torch.randn(config["type_vocab_size"], SIZES["hidden_size"])
        if config.get("rel_pos_bins"):
            weights["bert.rel_pos_bias.weight"] = torch.randn(4, config["rel_pos_bins"])
        put(folder, config, weights, "pytorch_model.bin")
        torch.save({"optimizer": {}, "lr_scheduler": {}}, folder / "optim.bin")
        options = {"model_type": family, "mask_way": mask_way}
        options |= {"max_source_seq_length": 40, "max_target_seq_length": 12}
        (folder / "train_opt.json").write_text(json.dumps(options), encoding="utf-8")

    return write
