"""The folder of a fine-tuned checkpoint: written so that transformers opens it, and read back.

It holds `config.json` with our block `s2s_ft`, `model.safetensors`, `generation_config.json` and
the tokenizer's files; `AutoModelForMaskedLM.from_pretrained` opens it as its own family. Where an
adapter is saved by itself (`adapter_files.py`), its two files stand in the place of the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from s2s_ft.cli import listed
from s2s_ft.model.adapter_files import save_adapter
from s2s_ft.model.adapters import adapter_of, load_trainable, merged_weights, save_trainable
from s2s_ft.model.files import read_weights
from s2s_ft.model.foreign import BLOCK
from s2s_ft.model.legacy import RELATIVE_BIAS
from s2s_ft.model.located import SAFETENSORS
from s2s_ft.model.parts import origin_of, put_weights, tied_names
from s2s_ft.model.quiet import quiet
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import TextCodec


def save(
    model: Seq2SeqModel,
    codec: TextCodec,
    folder: str | Path,
    state: Mapping[str, Tensor] | None = None,
    *,
    generation: Mapping[str, Any] | None = None,
    resumable: bool = False,
) -> None:
    """Write a checkpoint folder that transformers can open (contents at the top of this file).

    Args:
        model: The fine-tuned model.
        codec: Its tokenizer.
        folder: Existing folder.
        state: Whole tensors by the names of `model.state_dict()`, where the model's own are
            spread over several devices; None: the model's own.
        generation: Defaults of decoding beyond the special tokens and the longest target, by
            transformers' names.
        resumable: Write what `load_for_resume` needs, too.
    """
    encoder = model.encoder
    setattr(encoder.config, BLOCK, model.settings.to_dict())
    adapter = adapter_of(model)
    if adapter is not None and adapter.save == "adapter":
        save_adapter(model, folder)
        _base_config(encoder).save_pretrained(folder)
    else:
        if adapter is not None:
            state = merged_weights(model)
        weights = stored_weights(model, model.state_dict() if state is None else state)
        with quiet():
            # Under the names of the module: transformers would go back to those of the files that
            # it read, which for a family whose weights it cut or joined are other tensors.
            encoder.save_pretrained(
                folder, state_dict=weights, max_shard_size="100GB", save_original_format=False
            )
    special = codec.special
    GenerationConfig(
        bos_token_id=special.cls,
        eos_token_id=special.sep,
        pad_token_id=special.pad,
        max_new_tokens=model.settings.max_target_length,
        **(generation or {}),
    ).save_pretrained(folder)
    codec.save(folder)
    if resumable and adapter is not None:
        save_trainable(model, folder)


def load_for_resume(model: Seq2SeqModel, folder: str | Path) -> None:
    """Put the weights of a checkpoint back into the model of a run that goes on, bit for bit.

    Args:
        model: As the run had it before its first update; changed in place.
        folder: A folder that `save` wrote, to be resumable.

    Raises:
        ValueError: The weights do not fit the model.
    """
    if adapter_of(model) is not None:
        load_trainable(model, folder)
    else:
        load_weights(model, folder)


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
    unfit = put_weights(model.encoder, weights)
    if unfit:
        raise ValueError(f"{folder}/{SAFETENSORS} does not fit the model: {listed(unfit, 8)}")


def _base_config(encoder: PreTrainedModel) -> PreTrainedConfig:
    """The encoder's config as its pretrained weights need it: before the position table grew."""
    config = copy.deepcopy(encoder.config)
    config.architectures = [type(encoder).__name__]
    positions = origin_of(encoder).max_position_embeddings
    if positions is not None:
        config.max_position_embeddings = positions
    return config


def stored_weights(model: Seq2SeqModel, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a checkpoint, under the encoder's own names; tied ones once."""
    tied = tied_names(model.encoder)
    weights = {name.removeprefix("encoder."): tensor.detach() for name, tensor in state.items()}
    return {name: tensor for name, tensor in weights.items() if name not in tied}
