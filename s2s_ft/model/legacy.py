"""Weights under older names, brought under the names transformers uses: UniLM's own files, old
TensorFlow names, and what the original toolkit fine-tuned.

Notable: a pure function from a dictionary of tensors to another, with an account of what became of
each. Old -> new name:

    module.*                                     -> *
    *.gamma, *.beta                              -> *.weight, *.bias
    *.attention.self.qkv_linear.weight [3H, H]   -> query, key, value .weight (rows in that order)
    *.attention.self.q_bias, v_bias [1, 1, H]    -> query, value .bias; the key bias is 0
    bert.(encoder.)rel_pos_bias.weight           -> relative_position_bias.weight (ours)
    cls.predictions.* of an ELECTRA              -> generator_predictions.*, generator_lm_head.bias
    bert.*, cls.* of a fine-tuned RoBERTa        -> roberta.*, lm_head.*; two rows before the
                                                    positions and a token type of zeros
    cls.predictions.decoder_weight, crit_*       -> nothing: a tied copy, a constant of a loss

Letters: H hidden size, P positions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from s2s_ft.model.foreign import OFFSET

RELATIVE_BIAS = "relative_position_bias.weight"
"""Name of the relative-position bias among a checkpoint's weights."""

_BERT_HEAD = "cls.predictions.transform"
_ELECTRA_HEAD = {
    f"{_BERT_HEAD}.dense.": "generator_predictions.dense.",
    f"{_BERT_HEAD}.LayerNorm.": "generator_predictions.LayerNorm.",
    "cls.predictions.bias": "generator_lm_head.bias",
}
_ROBERTA_NAMES = {
    "bert.": "roberta.",
    f"{_BERT_HEAD}.dense.": "lm_head.dense.",
    f"{_BERT_HEAD}.LayerNorm.": "lm_head.layer_norm.",
    "cls.predictions.bias": "lm_head.bias",
}
_LEGACY_NAME = re.compile(
    r"^module\.|\.gamma$|\.beta$|qkv_linear|\.[qv]_bias$|rel_pos_bias|^relative_position_bias"
    r"|decoder_weight$|^crit_"
)
_USELESS = {
    "cls.predictions.decoder_weight": "a copy of the word embeddings",
    "crit_": "a constant of the original's loss",
}


@dataclass
class Renamed:
    """Weights under transformers' names, and how they came by them.

    Attributes:
        weights: By new name; tensors are shared where they did not change.
        became: Old name -> its new names; none for a weight that is left out.
        why: Old name -> what was done and why, where a name changed or went.
        made: New name -> what it was made of, for weights that no old one became.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    became: dict[str, tuple[str, ...]] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)


def is_legacy(names: list[str], model_type: str) -> bool:
    """Whether a checkpoint with these weight names has to be renamed before transformers can read
    it.
    """
    head = model_type == "electra" and any(name.startswith("cls.") for name in names)
    return head or any(_LEGACY_NAME.search(name) for name in names)


def renamed_weights(
    weights: Mapping[str, Tensor], model_type: str, *, lost_token_types: bool
) -> Renamed:
    """Weights under transformers' names (table at the top of this file).

    Args:
        weights: As read from the file.
        model_type: Family the weights are loaded into.
        lost_token_types: Whether they are those of a RoBERTa that the original made BERT of.
    """
    result = Renamed()
    with_head = f"{_BERT_HEAD}.dense.weight" in weights
    for name, tensor in weights.items():
        new, why = _renamed(name, tensor)
        if model_type == "electra" and with_head:
            new, why = _electra_head(new, why)
        if lost_token_types:
            new, why = _under_roberta_names(new, why)
        result.became[name] = tuple(new)
        result.weights.update(new)
        if why:
            result.why[name] = why
        if name.endswith(".q_bias"):
            key = next(each for each in new if each.endswith("key.bias"))
            result.became[name] = tuple(each for each in new if each != key)
            result.made[key] = "zeros: UniLM has no key bias, which softmax would cancel"
    if lost_token_types:
        _give_back_rows(result)
    return result


def _renamed(name: str, tensor: Tensor) -> tuple[dict[str, Tensor], str]:
    """What one weight becomes, and why its name changes."""
    for start, what in _USELESS.items():
        if name.startswith(start):
            return {}, what
    plain = name.removeprefix("module.")
    plain = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", plain))
    prefix = re.sub(r"(qkv_linear\.weight|q_bias|v_bias)$", "", plain)
    flat = tensor.flatten()
    if plain.endswith("attention.self.qkv_linear.weight"):
        parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
        return {f"{prefix}{part}.weight": rows for part, rows in parts}, "cut into three"
    if plain.endswith("attention.self.q_bias"):
        zeros = torch.zeros_like(flat)
        return {f"{prefix}query.bias": flat, f"{prefix}key.bias": zeros}, "another name"
    if plain.endswith("attention.self.v_bias"):
        return {f"{prefix}value.bias": flat}, "another name"
    if plain.endswith("rel_pos_bias.weight"):
        return {RELATIVE_BIAS: tensor}, "another name"
    return {plain: tensor}, "" if plain == name else "another name"


def _electra_head(new: dict[str, Tensor], why: str) -> tuple[dict[str, Tensor], str]:
    """An ELECTRA whose head stands under BERT's names; such a head goes before a generator's."""
    name = next(iter(new), "")
    if name.startswith(("generator_predictions.", "generator_lm_head.bias")):
        return {}, "the head under cls.predictions goes before it"
    if not name.startswith("cls."):
        return new, why
    moved = _moved(new, _ELECTRA_HEAD)
    return moved, "another name" if moved else "no part of the head"


def _under_roberta_names(new: dict[str, Tensor], why: str) -> tuple[dict[str, Tensor], str]:
    """A weight of a fine-tuned RoBERTa, back under its family's names."""
    moved = _moved(new, _ROBERTA_NAMES)
    return (moved, "back under its family's name") if moved else (new, why)


def _moved(new: dict[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    return {
        theirs + name.removeprefix(ours): tensor
        for name, tensor in new.items()
        for ours, theirs in names.items()
        if name.startswith(ours)
    }


def _give_back_rows(result: Renamed) -> None:
    """What the original cuts from RoBERTa: rows before position 0 and the one token type."""
    table = "roberta.embeddings.position_embeddings.weight"
    types = "roberta.embeddings.token_type_embeddings.weight"
    rows = result.weights.get(table)
    if rows is None:
        return
    result.weights[table] = torch.cat([rows.new_zeros(OFFSET, rows.shape[1]), rows])
    old = next(name for name, new in result.became.items() if table in new)
    result.why[old] = f"{OFFSET} rows of zeros before position 0, which nothing reads"
    if types not in result.weights:
        result.weights[types] = rows.new_zeros(1, rows.shape[1])
        result.made[types] = "zeros: the original fine-tunes RoBERTa without token types"
