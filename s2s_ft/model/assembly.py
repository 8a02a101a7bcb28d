"""A checkpoint put together: encoder, head, relative-position bias, and a tokenizer that fits them.

Notable: a checkpoint without a masked-LM head gets a fresh one (`heads.py`), which is said; every
encoder is put to the test whether it obeys the plan (`interface.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from s2s_ft.model.adapter_files import base_of, is_adapter
from s2s_ft.model.described import Described
from s2s_ft.model.heads import initialize_fresh_head
from s2s_ft.model.interface import check_interface
from s2s_ft.model.loading import Loaded, load_encoder
from s2s_ft.model.located import BINARY
from s2s_ft.model.parts import Origin, encoder_layers, set_origin
from s2s_ft.model.positions import position_offset
from s2s_ft.model.seq2seq import Seq2SeqModel, Seq2SeqSettings
from s2s_ft.text import TextCodec

logger = logging.getLogger(__name__)


def assemble(
    name: str,
    described: Described,
    settings: Seq2SeqSettings,
    cache_dir: str | None,
    *,
    flag: str,
    fresh_head: str | None,
    rename_always: bool = False,
) -> tuple[Seq2SeqModel, Loaded]:
    """Encoder, head and relative bias of a checkpoint, as one model.

    Args:
        name: Folder, weight file or hub id.
        described: What its config says.
        settings: What is ours.
        cache_dir: Where hub files are kept.
        flag: The flag that named it, for messages.
        fresh_head: How a missing head starts, which is said; None: it comes from elsewhere.
        rename_always: See `load_encoder`.

    Returns:
        The model, in float32 on the CPU, and what its files gave.

    Raises:
        ValueError: The checkpoint cannot be used.
        EnvironmentFault: A file cannot be read.
    """
    if is_adapter(name) and not (Path(name) / BINARY).exists():
        raise ValueError(
            f"{name} is an adapter and no whole model: start from {base_of(name)}, or "
            "from a checkpoint that was saved with --peft_save merged"
        )
    loaded = load_encoder(
        name,
        described.config,
        cache_dir,
        flag=flag,
        lost_token_types=described.lost_token_types,
        rename_always=rename_always,
    )
    encoder = loaded.encoder
    _give_head(encoder, loaded.missing, name, fresh_head)
    positions = getattr(described.config, "max_position_embeddings", None)
    set_origin(encoder, Origin(name, positions, fresh=loaded.missing))
    _number_layers(encoder)
    model = Seq2SeqModel(encoder, settings)
    _give_relative_bias(model, loaded.relative_bias, name)
    check_interface(model, f"{flag} {name}")
    return model, loaded


def _give_relative_bias(model: Seq2SeqModel, bias: Tensor | None, name: str) -> None:
    """Put UniLMv2's relative-position bias into a model whose settings ask for it.

    Raises:
        ValueError: Config and weights do not agree on it.
    """
    own = model.relative_position_bias
    if own is None and bias is None:
        return
    if own is None:
        raise ValueError(
            f"{name}: the weights hold a relative-position bias, but config.json has no "
            "rel_pos_bins and max_rel_pos for it (UniLMv2: 32 and 128); add them"
        )
    if bias is None:
        raise ValueError(
            f"{name}: config.json asks for a relative-position bias, but the weights hold none; "
            "take the config and the weights of one checkpoint"
        )
    if own.weight.shape != bias.shape:
        raise ValueError(
            f"{name}: 1 weight does not fit config.json: the relative-position bias is "
            f"{list(bias.shape)} where it asks for {list(own.weight.shape)}"
        )
    own.weight.data.copy_(bias)


def _number_layers(encoder: PreTrainedModel) -> None:
    """Tell the layers of a family that does not (NomicBERT) which they are, as the plan needs."""
    try:
        layers = encoder_layers(encoder)
    except ValueError:  # no list of layers; `check_interface` refuses what cannot do without
        return
    for number, (_, layer) in enumerate(layers):
        if any(hasattr(module, "layer_idx") for module in layer.modules()):
            continue
        # Only what attends: by its number, `compilation.py` knows what not to compile.
        for module in layer.modules():
            if type(module).__name__.endswith("Attention"):
                module.layer_idx = number  # type: ignore[assignment]


def check_tokenizer(
    encoder: PreTrainedModel, codec: TextCodec, raw: Mapping[str, Any], name: str
) -> None:
    """Every id of the tokenizer must have an embedding, and its special ids be the model's.

    Raises:
        ValueError: It is the tokenizer of another model.
    """
    table = encoder.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    rows = table.num_embeddings
    if len(codec.tokenizer) > rows:
        raise ValueError(
            f"--tokenizer_name: its {len(codec.tokenizer)} tokens do not fit the {rows} embeddings "
            f"of {name}; give the tokenizer that belongs to the model"
        )
    special = codec.special
    pairs = {
        "bos_token_id": special.cls,
        "cls_token_id": special.cls,
        "eos_token_id": special.sep,
        "sep_token_id": special.sep,
        "pad_token_id": special.pad,
        "mask_token_id": special.mask,
    }
    said = {key: raw[key] for key in pairs if isinstance(raw.get(key), int)}
    other = [f"{key} {value}" for key, value in said.items() if value != pairs[key]]
    if len(other) >= 2 and len(other) == len(said):
        raise ValueError(
            f"--tokenizer_name: it is the tokenizer of another model: config.json of {name} has "
            f"{', '.join(other)}, and the tokenizer {special.cls} (start), {special.sep} (end), "
            f"{special.pad} (pad), {special.mask} (mask); give the one that belongs to the model"
        )


def adopt_padding(encoder: PreTrainedModel, pad: int) -> None:
    """Take the tokenizer's padding id where the config says another.

    Multilingual MiniLM is BERT with XLM-R's tokenizer: its config keeps BERT's padding id 0, which
    is `<s>` there and would get no gradient.

    Args:
        encoder: Changed in place, its config too.
        pad: The tokenizer's padding id.
    """
    words = encoder.get_input_embeddings()
    assert isinstance(words, nn.Embedding)
    # Of a RoBERTa-like encoder that id is also the offset of its positions.
    if words.padding_idx not in (None, pad) and position_offset(encoder) == 0:
        words.padding_idx = pad
        encoder.config.pad_token_id = pad


def _give_head(
    encoder: PreTrainedModel, missing: Iterable[str], name: str, fresh_head: str | None
) -> None:
    """Give a checkpoint without a masked-LM head a fresh one, and say so (unless `fresh_head` is
    None: then the head comes from elsewhere).
    """
    head = sorted(missing)
    if fresh_head is not None and any(key.endswith("weight") for key in head):
        logger.warning(
            "%s has no masked-LM head: it gets a fresh one (%s start), which has to be learned.",
            name,
            fresh_head,
        )
        if fresh_head == "identity":
            initialize_fresh_head(encoder, head)
    elif fresh_head == "random":  # asked for by name
        logger.warning("--fresh_head has no effect: %s has a masked-LM head", name)
