"""Small adapters in place of a whole encoder: LoRA, DoRA and (IA)³, through the package `peft`.

Notable: peft puts its layers into the encoder in place, so model, attention plan and hooks stay
what they are. Trained are the adapter and, where the pretrained encoder had no masked-LM head, the
fresh head; everything else is frozen. A checkpoint holds, as `--peft_save` says,

    merged     model.safetensors, the adapter added to the encoder's weights: a plain checkpoint
    adapter    adapter_config.json, adapter_model.safetensors: see `adapter_files.py`

and, for resuming in either case, what is trained, as it is:

    trainable.safetensors

Merging is done on copies, since taking a merged adapter out again would leave rounding behind.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from s2s_ft.cli import EnvironmentFault
from s2s_ft.model.files import read_weights
from s2s_ft.model.parts import encoder_layers, origin_of
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options.adapter import AdapterOptions

TRAINABLE = "trainable.safetensors"
NAME = "default"
"""Peft's name of an adapter that has none."""

_ADAPTER = "_s2s_ft_adapter"
"""Attribute of the encoder that keeps its `Adapter`."""


@dataclass(frozen=True)
class Adapter:
    """The adapter of an encoder.

    Attributes:
        config: Peft's config.
        save: What a checkpoint holds for decoding, `merged` or `adapter`.
    """

    config: Any
    save: str


def add_adapter(model: Seq2SeqModel, options: AdapterOptions) -> None:
    """Put an adapter into the encoder and freeze all but it and a fresh head (`--peft`).

    Args:
        model: As loaded for training; changed in place. Nothing happens where no adapter is asked
            for. The adapter's first values are drawn from torch's generator.
        options: Which adapter, where and how large.

    Raises:
        ValueError: `--peft_targets` names no linear layer.
        EnvironmentFault: The package peft is missing.
    """
    if options.peft is None:
        return
    encoder = model.encoder
    config = _config(require_peft(), encoder, options)
    inject(config, encoder)
    setattr(encoder, _ADAPTER, Adapter(config, options.peft_save))
    if model.relative_position_bias is not None:
        model.relative_position_bias.weight.requires_grad = False
    for parameter in fresh_head(encoder).values():
        parameter.requires_grad = True


def inject(config: Any, encoder: PreTrainedModel) -> None:
    """Put an adapter's layers into the encoder, in place, and freeze all the others."""
    with warnings.catch_warnings():
        # Peft asks transformers under a name that transformers is about to give up.
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        require_peft().inject_adapter_in_model(config, encoder, NAME)


def adapter_of(model: Seq2SeqModel) -> Adapter | None:
    """The adapter that `add_adapter` put into a model, if it did."""
    adapter: Adapter | None = getattr(model.encoder, _ADAPTER, None)
    return adapter


def merged_weights(model: Seq2SeqModel) -> dict[str, Tensor]:
    """The model's state as if there had never been an adapter, each one added to its layer.

    Returns:
        By the names that the model's weights have without an adapter; the model is not changed.
    """
    layers = dict(adapted_layers(model))
    weights = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not any(name.startswith(f"{layer}.") for layer in layers)
    }
    for name, layer in layers.items():
        merged = copy.deepcopy(layer)
        merged.merge()
        for key, tensor in merged.get_base_layer().state_dict().items():
            weights[f"{name}.{key}"] = tensor
    return weights


def trainable_state(model: Seq2SeqModel) -> dict[str, Tensor]:
    """What is trained, by the names of `model.named_parameters()`."""
    return {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def save_trainable(model: Seq2SeqModel, folder: str | Path) -> None:
    """Write what is trained, for `load_trainable`."""
    state = {name: tensor.cpu().contiguous() for name, tensor in trainable_state(model).items()}
    save_file(state, Path(folder) / TRAINABLE, metadata={"format": "pt"})


def load_trainable(model: Seq2SeqModel, folder: str | Path) -> None:
    """Put back what `save_trainable` wrote, bit for bit.

    Args:
        model: The same encoder with the same adapter; changed in place.
        folder: A checkpoint.

    Raises:
        ValueError: It is the checkpoint of a run without an adapter, or with another one.
    """
    file = Path(folder) / TRAINABLE
    if not file.exists():
        raise ValueError(
            f"{folder} is of a run without --peft; leave it out here, name another --output_dir, "
            "or give --overwrite_output_dir to start anew"
        )
    saved, own = read_weights(file), trainable_state(model)
    shapes = [{name: each.shape for name, each in state.items()} for state in (saved, own)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{file} is of another adapter; undo the change of --peft and the flags beside it, "
            "name another --output_dir, or give --overwrite_output_dir to start anew"
        )
    for name, tensor in own.items():
        tensor.copy_(saved[name])


def require_peft() -> Any:
    """The package peft.

    Raises:
        EnvironmentFault: It is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise EnvironmentFault(
            f"--peft and adapters need the package peft ({error}): pip install 's2s-ft[peft]'"
        ) from error
    return peft


def _config(peft: Any, encoder: PreTrainedModel, options: AdapterOptions) -> Any:
    """Peft's config of the adapter asked for."""
    targets = _targets(encoder, options.peft_targets)
    if options.peft == "ia3":
        # A layer that leads back to the hidden size has its inputs scaled, any other its outputs.
        hidden = encoder.config.hidden_size
        inner = [name for name, layer in targets.items() if layer.in_features != hidden]
        return peft.IA3Config(target_modules=list(targets), feedforward_modules=inner)
    return peft.LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        use_dora=options.peft == "dora",
        target_modules=list(targets),
    )


def _targets(encoder: PreTrainedModel, ends: str | None) -> dict[str, nn.Linear]:
    """The linear layers of the encoder's layers whose names end so; all where no end is given."""
    linear = {
        f"{above}.{name}": module
        for above, layer in encoder_layers(encoder)
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear)
    }
    if ends is None:
        return linear
    wanted = [end.strip() for end in ends.split(",")]
    for end in wanted:
        if not any(f".{name}".endswith(f".{end}") for name in linear):
            known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise ValueError(
                f"--peft_targets: no linear layer's name ends in {end!r}; the last parts of their "
                f"names are {known}"
            )
    ending = tuple(f".{end}" for end in wanted)
    return {name: module for name, module in linear.items() if f".{name}".endswith(ending)}


def fresh_head(encoder: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The weights of a head that the checkpoint did not hold; one tied to the word embeddings is
    none of them.
    """
    words = encoder.get_input_embeddings().get_parameter("weight")
    fresh = {name: encoder.get_parameter(name) for name in sorted(origin_of(encoder).fresh)}
    return {name: parameter for name, parameter in fresh.items() if parameter is not words}


def adapted_layers(model: Seq2SeqModel) -> list[tuple[str, Any]]:
    """The layers that peft put into the encoder, by their names in the model."""
    kind = require_peft().tuners.tuners_utils.BaseTunerLayer
    return [(name, module) for name, module in model.named_modules() if isinstance(module, kind)]
