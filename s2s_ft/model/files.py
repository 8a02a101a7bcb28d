"""Reading a checkpoint's files: its config and its weights, from a folder or the hub, whatever
their age.

Notable: nothing is unpickled except old `.bin` weights, through torch's weights-only loader; every
fault is one line that names the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, BertConfig, PreTrainedConfig

from s2s_ft.model.legacy import FOREIGN_FAMILIES, foreign_config, foreign_settings

SAFETENSORS, BINARY = "model.safetensors", "pytorch_model.bin"


def read_config(
    name: str, cache_dir: str | None, flag: str
) -> tuple[PreTrainedConfig, dict[str, Any]]:
    """A family's config, and the fields in it that are settings of ours.

    Args:
        name: Folder, config file or hub id.
        cache_dir: Where hub files are kept.
        flag: The flag that named it, for messages.

    Returns:
        The config as transformers knows it, and keyword arguments for `Seq2SeqSettings`.

    Raises:
        ValueError: There is none, or its family is unknown.
    """
    raw = _local_config(name, flag)
    if raw is not None and raw.get("model_type") in FOREIGN_FAMILIES:
        return BertConfig(**foreign_config(raw)), foreign_settings(raw)
    try:
        config = AutoConfig.from_pretrained(name, cache_dir=cache_dir)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{flag} {name}: no usable config ({first_line(error)}); give a folder with a "
            "config.json, or a hub id that this machine can reach"
        ) from error
    return config, foreign_settings(raw if raw is not None else config.to_dict())


def read_weights(file: Path) -> dict[str, Tensor]:
    """All tensors of a `.safetensors` file or, through torch's weights-only loader, of a `.bin`
    file.

    Raises:
        ValueError: The file is damaged, or holds anything but tensors.
    """
    try:
        if file.suffix == ".safetensors":
            with safe_open(str(file), framework="pt") as tensors:
                return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
        weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{file} is damaged or incomplete ({first_line(error)}); fetch or save it again"
        ) from error
    except Exception as error:  # torch's unpickler raises its own kinds
        raise ValueError(
            f"{file} holds more than tensors and is not read, since unpickling could run code; "
            f"convert it to safetensors where it is trusted ({first_line(error)})"
        ) from error
    return weights


def local_weights(name: str) -> Path | None:
    """The single weight file of a folder, None for hub ids and sharded checkpoints."""
    folder = Path(name)
    return next(
        (folder / file for file in (SAFETENSORS, BINARY) if (folder / file).is_file()), None
    )


def weight_names(file: Path) -> list[str]:
    """The names of a file's tensors; a safetensors file is not read for it."""
    if file.suffix != ".safetensors":
        return list(read_weights(file))
    try:
        with safe_open(str(file), framework="pt") as tensors:
            return list(tensors.keys())
    except SafetensorError as error:
        raise ValueError(
            f"{file} is damaged or incomplete ({first_line(error)}); fetch or save it again"
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return str(error).strip().split("\n")[0] or type(error).__name__


def _local_config(name: str, flag: str) -> dict[str, Any] | None:
    """The raw config of a folder or file, None if `name` is no local path."""
    path = Path(name)
    if path.is_dir():
        checkpoints = sorted(path.glob("ckpt-*/config.json"), key=lambda file: _step(file.parent))
        if not (path / "config.json").exists() and checkpoints:
            raise ValueError(
                f"{flag} {name} is a training folder; name a checkpoint in it: "
                f"{checkpoints[-1].parent}"
            )
        path = path / "config.json"
    elif not path.exists():
        if _names_a_path(name):
            raise ValueError(f"{flag} {name}: there is no such folder")
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{flag} {name} has no config.json; give a checkpoint folder") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not JSON ({error}); give the config with --config_name"
        ) from error
    if not isinstance(raw, dict):
        raise ValueError(f"{path} is not a config: it holds no JSON object")
    return raw


def _names_a_path(name: str) -> bool:
    """Whether a name can only be a path: a hub id is `name` or `owner/name`."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1


def _step(folder: Path) -> int:
    """The number in `ckpt-<step>`, -1 for anything else."""
    number = folder.name.removeprefix("ckpt-")
    return int(number) if number.isdigit() else -1
