"""Configs of families that transformers does not know: UniLM, MiniLM, and what the original toolkit
fine-tuned.

    model_type unilm, minilm            BERT under another name
    BertForSequenceToSequence…          the original's fine-tuned checkpoint; BERT, whatever it
                                        started from
      with no token types               RoBERTa or XLM-R once: their family is given back

Notable: pure functions from a config's dictionary to another. The original stores neither the
method nor the lengths with a checkpoint; `train_opt.json`, which it writes above it, has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, BertConfig, PreTrainedConfig

from s2s_ft.options.model import METHOD_OF_MASK_WAY

FOREIGN_FAMILIES = ("unilm", "minilm")
"""`model_type` values of configs that are BERT under another name."""

BLOCK = "s2s_ft"
"""Key of our settings in `config.json`."""

OFFSET = 2
"""Rows before position 0 in a RoBERTa-like table, which the original cuts off."""

ROBERTA_IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
_MULTILINGUAL_SIZE = 200_000  # XLM-R's vocabulary has 250,002 tokens, RoBERTa's 50,265
_ORIGINAL_CLASS = "BertForSequenceToSequence"
_ORIGINAL_FIELDS = ("fix_word_embedding", "label_smoothing")
_NOT_OF_A_CONFIG = (
    *_ORIGINAL_FIELDS,
    "model_type",
    "architectures",
    "vocab_size_or_config_json_file",
)


def is_original(raw: Mapping[str, Any]) -> bool:
    """Whether a config is that of a checkpoint which the original toolkit fine-tuned."""
    if BLOCK in raw:
        return False
    classes = raw.get("architectures") or [""]
    return str(classes[0]).startswith(_ORIGINAL_CLASS) or all(
        field in raw for field in _ORIGINAL_FIELDS
    )


def is_foreign(raw: Mapping[str, Any], family: str | None = None) -> bool:
    """Whether transformers cannot make sense of a config by itself."""
    kind = family or raw.get("model_type")
    return kind in FOREIGN_FAMILIES or is_original(raw) or _is_unnamed_unilm(raw, family)


def lost_token_types(raw: Mapping[str, Any]) -> bool:
    """Whether a config is that of a RoBERTa-like encoder which the original made BERT of."""
    return is_original(raw) and raw.get("type_vocab_size") == 0


def family_config(raw: Mapping[str, Any], name: str, family: str | None) -> PreTrainedConfig:
    """The config of a foreign checkpoint, as transformers knows it.

    Args:
        raw: As its file has it.
        name: Folder it lies in, which may tell more of it.
        family: The family to take it for; None = what the checkpoint tells.
    """
    fields = {key: value for key, value in raw.items() if key not in _NOT_OF_A_CONFIG}
    if lost_token_types(raw):
        fields |= {**ROBERTA_IDS, "type_vocab_size": 1}
        fields["max_position_embeddings"] = raw.get("max_position_embeddings", 512) + OFFSET
        config: PreTrainedConfig = AutoConfig.for_model(
            family or _roberta_family(raw, name), **fields
        )
        return config
    if "unilm" in (family, raw.get("model_type")) or "model_type" not in raw:
        fields.setdefault("type_vocab_size", 6)
    return BertConfig(**fields)


def foreign_settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config that transformers' classes do not know, under our settings' names."""
    names = {
        "source_type_id": "source_type_id",
        "target_type_id": "target_type_id",
        "rel_pos_bins": "relative_position_buckets",
        "max_rel_pos": "relative_position_max_distance",
    }
    return {ours: raw[theirs] for theirs, ours in names.items() if theirs in raw}


def original_settings(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What is known of the run that fine-tuned a checkpoint of the original's.

    Args:
        raw: Its config.
        name: Its folder.

    Returns:
        Keyword arguments for `Seq2SeqSettings`; empty for any other checkpoint.
    """
    if not is_original(raw):
        return {}
    settings: dict[str, Any] = {}
    options = train_options(name)
    method = METHOD_OF_MASK_WAY.get(options.get("mask_way", ""))
    if method is None and str((raw.get("architectures") or [""])[0]).endswith("PseudoMask"):
        method = "pseudo_mask"
    if method is not None:
        settings["method"] = method
    for theirs, ours in (
        ("max_source_seq_length", "max_source_length"),
        ("max_target_seq_length", "max_target_length"),
    ):
        if isinstance(options.get(theirs), int):
            settings[ours] = options[theirs]
    if options.get("do_lower_case") is True:
        settings["do_lower_case"] = True
    return settings


def train_options(name: str) -> dict[str, Any]:
    """The original's `train_opt.json` in a checkpoint's folder or above it; empty without one."""
    folder = Path(name) if Path(name).is_dir() else Path(name).parent
    for place in (folder, folder.resolve().parent):
        try:
            options = json.loads((place / "train_opt.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(options, dict):
            return options
    return {}


def _is_unnamed_unilm(raw: Mapping[str, Any], family: str | None) -> bool:
    """UniLM's released configs name no family at all, only BERT's fields."""
    if family is not None or "model_type" in raw:
        return False
    return all(key in raw for key in ("hidden_size", "num_hidden_layers", "type_vocab_size"))


def _roberta_family(raw: Mapping[str, Any], name: str) -> str:
    """Which of the two the original started from: as its options say, else by vocabulary."""
    known = train_options(name).get("model_type")
    if known in ("roberta", "xlm-roberta"):
        return str(known)
    return "xlm-roberta" if raw.get("vocab_size", 0) > _MULTILINGUAL_SIZE else "roberta"
