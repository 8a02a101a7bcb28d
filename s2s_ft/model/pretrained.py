"""Checkpoints in and out: any masked-LM encoder of the hub or a folder in, a folder that
transformers opens out.

Notable: the Auto classes know the families; only weights under older names (UniLM's own files,
TensorFlow-style names, see `legacy.py`) are renamed first.

The folder that is saved is told in `saving.py`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
)

from s2s_ft.model.adapter_files import base_of, is_adapter, merge_saved
from s2s_ft.model.attention import IMPLEMENTATION
from s2s_ft.model.files import (
    SAFETENSORS,
    first_line,
    local_weights,
    read_config,
    read_weights,
    weight_names,
)
from s2s_ft.model.heads import initialize_fresh_head, is_head_weight
from s2s_ft.model.interface import check_interface, masked_lm_class
from s2s_ft.model.legacy import RELATIVE_BIAS, converted_weights, is_legacy
from s2s_ft.model.parts import Origin, origin_of, set_origin
from s2s_ft.model.positions import grow_positions
from s2s_ft.model.saving import (
    BLOCK,
    listed,
    load_for_resume,
    load_weights,
    quiet,
    save,
    save_for_resume,
)
from s2s_ft.model.seq2seq import Seq2SeqModel, Seq2SeqSettings
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec

__all__ = [
    "load_finetuned",
    "load_for_resume",
    "load_for_training",
    "load_weights",
    "save",
    "save_for_resume",
]

logger = logging.getLogger(__name__)


def load_for_training(
    options: ModelOptions, codec: TextCodec, *, max_source_length: int, max_target_length: int
) -> Seq2SeqModel:
    """A pretrained encoder made ready for fine-tuning.

    Args:
        options: The model flags.
        codec: The tokenizer that the ids come from.
        max_source_length: Source tokens, special tokens included.
        max_target_length: Target tokens, special token included.

    Returns:
        In float32, on the CPU, in training mode; its position table grown where the lengths need
        it.

    Raises:
        ValueError: The checkpoint cannot be used; the message names the flag, the file and what to
            do.
    """
    name = options.model_name_or_path
    config, found = read_config(
        options.config_name or name, options.cache_dir, "--model_name_or_path"
    )
    if options.dropout is not None:
        _override_dropout(config, options.dropout)
    settings = Seq2SeqSettings(
        **{
            **found,
            "method": options.method,
            "max_source_length": max_source_length,
            "max_target_length": max_target_length,
            "do_lower_case": options.do_lower_case or None,
        }
    )
    model = _load(name, config, settings, options.cache_dir, fresh_head=options.fresh_head)
    _check_vocabulary(model.encoder, codec, name)
    _grow_positions(model)
    if options.fix_word_embedding:
        _fix_word_embedding(model.encoder)
    return model.train()


def load_finetuned(
    model_path: str, *, config_path: str | None = None, cache_dir: str | None = None
) -> Seq2SeqModel:
    """A checkpoint as training saved it, for decoding.

    Args:
        model_path: Folder or hub id.
        config_path: Config to use instead of the checkpoint's own.
        cache_dir: Where hub files are kept.

    Returns:
        In float32, on the CPU, in evaluation mode.

    Raises:
        ValueError: The checkpoint cannot be used.
        EnvironmentFault: It is an adapter, and the package peft is missing.
    """
    config, found = read_config(config_path or model_path, cache_dir, "--model_path")
    block = getattr(config, BLOCK, None)
    if block is None:
        logger.warning(
            "%s was not fine-tuned with this tool: its config.json has no '%s' block. Expect word "
            "salad unless it was fine-tuned elsewhere.",
            model_path,
            BLOCK,
        )
    settings = Seq2SeqSettings.from_dict({**found, **(block or {})})
    if not is_adapter(model_path):
        return _load(model_path, config, settings, cache_dir, fresh_head="identity").eval()
    model = _load(base_of(model_path), config, settings, cache_dir, fresh_head=None)
    _grow_positions(model)
    merge_saved(model, model_path)
    return model.eval()


def _load(
    name: str,
    config: PreTrainedConfig,
    settings: Seq2SeqSettings,
    cache_dir: str | None,
    *,
    fresh_head: str | None,
) -> Seq2SeqModel:
    """Encoder, head and relative bias of a checkpoint; see `_check_report` for `fresh_head`."""
    family = masked_lm_class(config, name)
    file = local_weights(name)
    weights: dict[str, Tensor] | None = None
    if file is not None and is_legacy(weight_names(file), config.model_type):
        weights = converted_weights(read_weights(file), config.model_type)
    elif is_adapter(name):
        raise ValueError(
            f"{name} is an adapter and no whole model: start from {base_of(name)}, or "
            "from a checkpoint that was saved with --peft_save merged"
        )
    elif Path(name).is_dir() and file is None and not list(Path(name).glob("*.index.json")):
        raise ValueError(
            f"{name} has no weights; expected {SAFETENSORS} or pytorch_model.bin in it"
        )
    bias = None if weights is None else weights.pop(RELATIVE_BIAS, None)
    try:
        with quiet():
            encoder, report = family.from_pretrained(
                name if weights is None else None,
                config=config,
                state_dict=weights,
                cache_dir=cache_dir,
                attn_implementation=IMPLEMENTATION,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ValueError(f"{name}: the weights cannot be loaded ({first_line(error)})") from error
    _check_report(encoder, report["missing_keys"], name, fresh_head)
    positions = getattr(config, "max_position_embeddings", None)
    set_origin(encoder, Origin(name, positions, fresh=frozenset(report["missing_keys"])))
    model = Seq2SeqModel(encoder, settings)
    if model.relative_position_bias is not None:
        if bias is None:
            raise ValueError(
                f"{name}: config.json asks for a relative-position bias, but the weights hold none"
            )
        model.relative_position_bias.weight.data.copy_(bias)
    check_interface(model)
    return model


def _grow_positions(model: Seq2SeqModel) -> None:
    """Make room for the longest source and target of the settings."""
    source, target = model.settings.max_source_length, model.settings.max_target_length
    if source is not None and target is not None:
        grow_positions(model.encoder, source + target)


def _check_report(
    encoder: PreTrainedModel, missing: set[str], name: str, fresh_head: str | None
) -> None:
    """Refuse a checkpoint without its body; give one without a head a fresh head, and say so
    (unless `fresh_head` is None: then the head comes from elsewhere).
    """
    body = sorted(key for key in missing if not is_head_weight(encoder, key))
    if body:
        raise ValueError(
            f"{name}: the weights do not fit its config; {len(body)} missing: {listed(body)}"
        )
    head = sorted(missing)
    if fresh_head is not None and any(key.endswith("weight") for key in head):
        logger.warning(
            "%s has no masked-LM head: it gets a fresh one (%s start), which has to be learned.",
            name,
            fresh_head,
        )
        if fresh_head == "identity":
            initialize_fresh_head(encoder, head)


def _check_vocabulary(encoder: PreTrainedModel, codec: TextCodec, name: str) -> None:
    """Every id of the tokenizer must have an embedding."""
    table = encoder.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    rows = table.num_embeddings
    if len(codec.tokenizer) > rows:
        raise ValueError(
            f"--tokenizer_name: its {len(codec.tokenizer)} tokens do not fit the {rows} embeddings "
            f"of {name}; give the tokenizer that belongs to the model"
        )


def _fix_word_embedding(encoder: PreTrainedModel) -> None:
    """Never train the word embeddings, nor an output head that is tied to them."""
    weight = encoder.get_input_embeddings().get_parameter("weight")
    weight.requires_grad = False
    fixed = frozenset(name for name, each in encoder.named_parameters() if each is weight)
    set_origin(encoder, replace(origin_of(encoder), fixed=fixed))


def _override_dropout(config: PreTrainedConfig, probability: float) -> None:
    """Set every dropout of a config, whatever the family calls it."""
    for key, value in config.to_dict().items():
        if "dropout" in key and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, key, probability)
