"""Weights under older names, brought under the names transformers uses: UniLM's own files, old
TensorFlow names.

Notable: pure functions from a dictionary of tensors to a dictionary of tensors. Old -> new name:

    *.gamma, *.beta                              -> *.weight, *.bias
    *.attention.self.qkv_linear.weight [3H, H]   -> query, key, value .weight (rows in that order)
    *.attention.self.q_bias, v_bias [1, 1, H]    -> query, value .bias; the key bias is 0
    bert.encoder.rel_pos_bias.weight             -> relative_position_bias.weight (ours)
    cls.predictions.* of an ELECTRA              -> generator_predictions.*, generator_lm_head.bias
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

RELATIVE_BIAS = "relative_position_bias.weight"
"""Name of the relative-position bias among a checkpoint's weights."""

FOREIGN_FAMILIES = ("unilm", "minilm")
"""`model_type` values of configs that are BERT under another name."""

_ELECTRA_HEAD = {
    "cls.predictions.transform.dense.": "generator_predictions.dense.",
    "cls.predictions.transform.LayerNorm.": "generator_predictions.LayerNorm.",
    "cls.predictions.bias": "generator_lm_head.bias",
}
_LEGACY_NAME = re.compile(
    r"\.gamma$|\.beta$|qkv_linear|\.[qv]_bias$|rel_pos_bias|^relative_position_bias"
)


def is_legacy(names: list[str], model_type: str) -> bool:
    """Whether a checkpoint with these weight names has to be renamed before transformers can read
    it.
    """
    electra_head = model_type == "electra" and any(name.startswith("cls.") for name in names)
    return electra_head or any(_LEGACY_NAME.search(name) for name in names)


def converted_weights(weights: Mapping[str, Tensor], model_type: str) -> dict[str, Tensor]:
    """Weights under transformers' names (table at the top of this file).

    Args:
        weights: As read from the file.
        model_type: Family the weights are loaded into.

    Returns:
        A new dictionary; tensors are shared where they did not change.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        for new_name, new_tensor in _renamed(name, tensor):
            result[new_name] = new_tensor
    return _with_electra_head(result) if model_type == "electra" else result


def _renamed(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """What one weight becomes."""
    name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
    if name.endswith("attention.self.qkv_linear.weight"):
        prefix = name.removesuffix("qkv_linear.weight")
        parts = tensor.chunk(3)
        return [
            (f"{prefix}{part}.weight", rows)
            for part, rows in zip(("query", "key", "value"), parts, strict=True)
        ]
    if name.endswith("attention.self.q_bias"):
        prefix = name.removesuffix("q_bias")
        return [
            (f"{prefix}query.bias", tensor.flatten()),
            (f"{prefix}key.bias", torch.zeros_like(tensor.flatten())),
        ]
    if name.endswith("attention.self.v_bias"):
        return [(f"{name.removesuffix('v_bias')}value.bias", tensor.flatten())]
    if name.endswith("rel_pos_bias.weight"):
        return [(RELATIVE_BIAS, tensor)]
    return [(name, tensor)]


def _with_electra_head(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """An ELECTRA checkpoint whose head stands under BERT's names; such a head goes before a
    generator's.
    """
    if "cls.predictions.transform.dense.weight" not in weights:
        return weights
    result = {name: tensor for name, tensor in weights.items() if not name.startswith("cls.")}
    for name, tensor in weights.items():
        for old, new in _ELECTRA_HEAD.items():
            if name.startswith(old):
                result[new + name.removeprefix(old)] = tensor
    return result


def foreign_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config of a foreign family, as keywords of transformers' BERT config."""
    fields = {name: value for name, value in config.items() if name != "model_type"}
    if config["model_type"] == "unilm":
        fields.setdefault("type_vocab_size", 6)
    return fields


def foreign_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a UniLM config that transformers' BERT config does not know, under our
    settings' names.
    """
    names = {
        "source_type_id": "source_type_id",
        "target_type_id": "target_type_id",
        "rel_pos_bins": "relative_position_buckets",
        "max_rel_pos": "relative_position_max_distance",
    }
    return {ours: config[theirs] for theirs, ours in names.items() if theirs in config}
