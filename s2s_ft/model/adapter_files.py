"""An adapter by itself, in the files of the package `peft`: written so that peft opens them, read
and merged for decoding.

    adapter_config.json          which adapter, where, and the pretrained encoder it belongs to
    adapter_model.safetensors    its weights, and a fresh head as what peft calls a module to save

Beside them stand, as in any checkpoint, the encoder's `config.json` and the tokenizer. The config
is that of the pretrained encoder, whose position table grows again when it is loaded.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file
from transformers import PreTrainedModel

from s2s_ft.cli import first_line
from s2s_ft.model.adapters import NAME, adapted_layers, adapter_of, fresh_head, inject, require_peft
from s2s_ft.model.files import read_weights
from s2s_ft.model.located import SAFETENSORS
from s2s_ft.model.parts import origin_of
from s2s_ft.model.seq2seq import Seq2SeqModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What peft puts in front of the names of a model's weights in a file."""


def save_adapter(model: Seq2SeqModel, folder: str | Path) -> None:
    """Write the adapter and a fresh head as peft does, so that peft can open them, too.

    Args:
        model: With an adapter.
        folder: Existing folder.
    """
    adapter = adapter_of(model)
    assert adapter is not None, "an adapter was added"
    encoder = model.encoder
    weights = dict(require_peft().get_peft_model_state_dict(encoder, save_embedding_layers=False))
    heads = _modules_to_save(encoder)
    for name in heads:
        for key, tensor in encoder.get_submodule(name).state_dict().items():
            weights[f"{name}.{key}"] = tensor
    # A copy of each: tied weights share their memory, which the format does not allow.
    save_file(
        {f"{PREFIX}{name}": tensor.detach().cpu().clone() for name, tensor in weights.items()},
        Path(folder) / WEIGHTS,
        metadata={"format": "pt"},
    )
    base = origin_of(encoder).name
    config = adapter.config.to_dict() | {
        "auto_mapping": {
            "base_model_class": type(encoder).__name__,
            "parent_library": type(encoder).__module__,
        },
        "base_model_name_or_path": str(Path(base).resolve()) if Path(base).exists() else base,
        "inference_mode": True,
        "modules_to_save": heads or None,
    }
    plain = {
        key: sorted(value) if isinstance(value, set) else value for key, value in config.items()
    }
    text = json.dumps(plain, indent=2, sort_keys=True)
    (Path(folder) / CONFIG).write_text(text + "\n", encoding="utf-8")


def is_adapter(name: str) -> bool:
    """Whether a path is a folder that holds an adapter in place of a model."""
    folder = Path(name)
    return (folder / CONFIG).is_file() and not (folder / SAFETENSORS).exists()


def base_of(folder: str | Path) -> str:
    """The pretrained encoder that a saved adapter belongs to: folder or hub id.

    Raises:
        ValueError: The adapter does not say it, or the folder is not there.
    """
    file = Path(folder) / CONFIG
    try:
        base = json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} does not name the encoder that it belongs to") from error
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise ValueError(
            f"{folder} is an adapter for the encoder in {base}, which is not there: put it back, "
            f"or write where it is now as base_model_name_or_path in {file}"
        )
    return str(base)


def merge_saved(model: Seq2SeqModel, folder: str | Path) -> None:
    """Give a pretrained encoder the adapter that `save_adapter` wrote, and merge it for good.

    Args:
        model: The encoder that the adapter belongs to; changed in place, plain layers again.
        folder: Folder of the adapter.

    Raises:
        ValueError: The adapter does not fit the encoder.
        EnvironmentFault: The package peft is missing.
    """
    peft = require_peft()
    weights = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in read_weights(Path(folder) / WEIGHTS).items()
    }
    config = peft.PeftConfig.from_pretrained(str(folder))
    heads, config.modules_to_save = config.modules_to_save or [], None
    encoder = model.encoder
    try:
        inject(config, encoder)
        for head in heads:
            names = [name for name in weights if name.startswith(f"{head}.")]
            state = {name.removeprefix(f"{head}."): weights.pop(name) for name in names}
            encoder.get_submodule(head).load_state_dict(state)
        report = peft.set_peft_model_state_dict(encoder, weights, NAME)
    except (ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(
            f"{folder}: the adapter does not fit its encoder ({first_line(error)})"
        ) from error
    lost = [name for name in report.missing_keys if f".{NAME}" in name]
    if lost or report.unexpected_keys:
        name = [*lost, *report.unexpected_keys][0]
        raise ValueError(f"{folder}: the adapter does not fit its encoder (see {name})")
    for name, layer in adapted_layers(model):
        layer.merge()
        above, _, own = name.rpartition(".")
        setattr(model.get_submodule(above), own, layer.get_base_layer())


def _modules_to_save(encoder: PreTrainedModel) -> list[str]:
    """The modules that hold a fresh head; none of them is inside another."""
    owners = {name.rpartition(".")[0] for name in fresh_head(encoder)}
    return sorted(
        name for name in owners if not any(name.startswith(f"{other}.") for other in owners)
    )
