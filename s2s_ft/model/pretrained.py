"""Checkpoints in and out: any masked-LM encoder of the hub or a folder in, a folder that
transformers opens out.

Notable: the Auto classes know the families; only weights under older names (UniLM's own files,
TensorFlow-style names, see `legacy.py`) are renamed first.

A saved folder holds `config.json` with our block `s2s_ft`, `model.safetensors`,
`generation_config.json` and the tokenizer's files; `AutoModelForMaskedLM.from_pretrained` opens it
as its own family.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

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
from s2s_ft.model.positions import grow_positions
from s2s_ft.model.seq2seq import Seq2SeqModel, Seq2SeqSettings
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec

logger = logging.getLogger(__name__)

BLOCK = "s2s_ft"
"""Key of our settings in `config.json`."""


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
    grow_positions(model.encoder, max_source_length + max_target_length)
    if options.fix_word_embedding:
        model.encoder.get_input_embeddings().weight.requires_grad = False
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
    return _load(model_path, config, settings, cache_dir, fresh_head="identity").eval()


def load_weights(model: Seq2SeqModel, folder: str | Path) -> None:
    """Put the weights of a saved checkpoint back into a model of the same shape.

    Args:
        model: Changed in place.
        folder: A folder that `save` wrote.
    """
    weights = read_weights(Path(folder) / SAFETENSORS)
    bias = weights.pop(RELATIVE_BIAS, None)
    if model.relative_position_bias is not None:
        assert bias is not None, "saved with its bias"
        model.relative_position_bias.weight.data.copy_(bias)
    missing, unexpected = model.encoder.load_state_dict(weights, strict=False)
    tied = set(getattr(model.encoder, "all_tied_weights_keys", None) or {})
    absent = [name for name in missing if name not in tied]
    if absent or unexpected:
        raise ValueError(
            f"{folder}/{SAFETENSORS} does not fit the model: {_listed([*absent, *unexpected])}"
        )


def save(model: Seq2SeqModel, codec: TextCodec, folder: str | Path) -> None:
    """Write a checkpoint folder that transformers can open (contents at the top of this file).

    Args:
        model: The fine-tuned model.
        codec: Its tokenizer.
        folder: Existing folder.
    """
    encoder = model.encoder
    setattr(encoder.config, BLOCK, model.settings.to_dict())
    weights = dict(encoder.state_dict())
    if model.relative_position_bias is not None:
        weights[RELATIVE_BIAS] = model.relative_position_bias.weight.detach()
    with _quiet():
        encoder.save_pretrained(folder, state_dict=weights, max_shard_size="100GB")
    special = codec.special
    GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=special.cls,
        eos_token_id=special.sep,
        pad_token_id=special.pad,
        max_new_tokens=model.settings.max_target_length,
    ).save_pretrained(folder)
    codec.save(folder)


def _load(
    name: str,
    config: PreTrainedConfig,
    settings: Seq2SeqSettings,
    cache_dir: str | None,
    *,
    fresh_head: str,
) -> Seq2SeqModel:
    """Encoder, head and relative bias of a checkpoint."""
    family = masked_lm_class(config, name)
    file = local_weights(name)
    weights: dict[str, Tensor] | None = None
    if file is not None and is_legacy(weight_names(file), config.model_type):
        weights = converted_weights(read_weights(file), config.model_type)
    elif Path(name).is_dir() and file is None and not list(Path(name).glob("*.index.json")):
        raise ValueError(
            f"{name} has no weights; expected {SAFETENSORS} or pytorch_model.bin in it"
        )
    bias = None if weights is None else weights.pop(RELATIVE_BIAS, None)
    try:
        with _quiet():
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
    model = Seq2SeqModel(encoder, settings)
    if model.relative_position_bias is not None:
        if bias is None:
            raise ValueError(
                f"{name}: config.json asks for a relative-position bias, but the weights hold none"
            )
        model.relative_position_bias.weight.data.copy_(bias)
    check_interface(model)
    return model


def _check_report(encoder: PreTrainedModel, missing: set[str], name: str, fresh_head: str) -> None:
    """Refuse a checkpoint without its body; give one without a head a fresh head, and say so."""
    body = sorted(key for key in missing if not is_head_weight(encoder, key))
    if body:
        raise ValueError(
            f"{name}: the weights do not fit its config; {len(body)} missing: {_listed(body)}"
        )
    head = sorted(missing)
    if any(key.endswith("weight") for key in head):
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


def _override_dropout(config: PreTrainedConfig, probability: float) -> None:
    """Set every dropout of a config, whatever the family calls it."""
    for key, value in config.to_dict().items():
        if "dropout" in key and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, key, probability)


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers' load report off: what matters of it is said in our own words."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        transformers.logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _listed(names: list[str], most: int = 8) -> str:
    """Names in a row, the tail counted."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
