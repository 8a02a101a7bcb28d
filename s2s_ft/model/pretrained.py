"""Checkpoints in and out: any masked-LM encoder of the hub or a folder in, a folder that
transformers opens out.

Notable: one way in for each purpose; all go through `assembly.py`. What may be wrong with a folder
is met in `located.py` (is it there), `described.py` and `files.py` (can it be read) and
`loading.py` (does it fit); the folder that is saved is told in `saving.py`.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from transformers import PreTrainedConfig, PreTrainedModel

from s2s_ft.model.adapter_files import base_of, is_adapter, merge_saved
from s2s_ft.model.assembly import adopt_padding, assemble, check_tokenizer
from s2s_ft.model.described import Described, describe, describe_by
from s2s_ft.model.foreign import BLOCK, is_foreign
from s2s_ft.model.interface import masked_lm_class
from s2s_ft.model.parts import origin_of, set_origin
from s2s_ft.model.positions import grow_positions
from s2s_ft.model.saving import load_for_resume, load_weights, save
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.model.vocabulary import add_rows
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec

__all__ = [
    "describe_suitable",
    "load_finetuned",
    "load_for_resume",
    "load_for_training",
    "load_unchanged",
    "load_weights",
    "save",
]

logger = logging.getLogger(__name__)


def describe_suitable(
    name: str, cache_dir: str | None, flag: str, *, config_name: str | None = None
) -> Described:
    """What the config of an encoder says, if nothing in it tells that it cannot be fine-tuned here.

    Args:
        name: Folder or hub id.
        cache_dir: Where hub files are kept.
        flag: The flag that named it, for messages.
        config_name: What `--config_name` names in the place of its own config.

    Raises:
        ValueError: There is no config, or it is of a family that is none of those.
        EnvironmentFault: The file cannot be read.
    """
    config_flag = flag if config_name is None else "--config_name"
    described = describe(config_name or name, cache_dir, config_flag)
    masked_lm_class(described.config, f"{flag} {name}")
    return described


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
    flag = "--model_name_or_path"
    described = describe_suitable(name, options.cache_dir, flag, config_name=options.config_name)
    if options.dropout is not None:
        _override_dropout(described.config, options.dropout)
    settings = replace(
        described.known_settings(),
        method=options.method,
        max_source_length=max_source_length,
        max_target_length=max_target_length,
        do_lower_case=options.do_lower_case or None,
    )
    model, _ = assemble(
        name, described, settings, options.cache_dir, flag=flag, fresh_head=options.fresh_head
    )
    add_rows(model.encoder, codec.new_tokens)
    check_tokenizer(model.encoder, codec, described.raw, name)
    adopt_padding(model.encoder, codec.special.pad)
    _grow_positions(model)
    if options.fix_word_embedding:
        _fix_word_embedding(model.encoder)
    return model.train()


def load_finetuned(
    model_path: str,
    *,
    config_path: str | None = None,
    cache_dir: str | None = None,
    flag: str = "--model_path",
) -> Seq2SeqModel:
    """A checkpoint as training saved it, for decoding.

    Args:
        model_path: Folder or hub id.
        config_path: Config to use instead of the checkpoint's own, whose settings of a training
            run hold all the same where it has none.
        cache_dir: Where hub files are kept.
        flag: The flag that named it, for messages.

    Returns:
        In float32, on the CPU, in evaluation mode.

    Raises:
        ValueError: The checkpoint cannot be used.
        EnvironmentFault: It is an adapter, and the package peft is missing.
    """
    described = describe_by(config_path, model_path, cache_dir, flag)
    if not described.is_fine_tuned:
        logger.warning(
            "%s was not fine-tuned with this tool: %s has no '%s' block of a training run. Expect "
            "word salad unless it was fine-tuned elsewhere.",
            model_path,
            "its config.json" if config_path is None else config_path,
            BLOCK,
        )
    settings = described.known_settings()
    if not is_adapter(model_path):
        model, _ = assemble(
            model_path, described, settings, cache_dir, flag=flag, fresh_head="identity"
        )
        return model.eval()
    model, _ = assemble(
        base_of(model_path), described, settings, cache_dir, flag=flag, fresh_head=None
    )
    _grow_positions(model)
    merge_saved(model, model_path)
    return model.eval()


def load_unchanged(name: str, *, cache_dir: str | None = None) -> Seq2SeqModel:
    """A model of any kind, pretrained or fine-tuned, to be written again.

    Args:
        name: Folder or hub id.
        cache_dir: Where hub files are kept.

    Returns:
        In float32, on the CPU; `origin_of` its encoder names the head weights that it did not hold.

    Raises:
        ValueError: It cannot be used.
    """
    flag = "--model_path"
    described = describe(name, cache_dir, flag)
    if is_foreign(described.raw):
        raise ValueError(
            f"{flag} {name} is in a format of its own: make a transformers folder of it first, "
            "with python -m s2s_ft.convert"
        )
    model, _ = assemble(
        name, described, described.known_settings(), cache_dir, flag=flag, fresh_head=None
    )
    return model.eval()


def _grow_positions(model: Seq2SeqModel) -> None:
    """Make room for the longest source and target of the settings."""
    source, target = model.settings.max_source_length, model.settings.max_target_length
    if source is not None and target is not None:
        grow_positions(model.encoder, source + target)


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
