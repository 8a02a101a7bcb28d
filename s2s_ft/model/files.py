"""Reading a checkpoint's weights, whatever their age.

Notable: nothing is unpickled except old `.bin` weights, through torch's weights-only loader; every
fault is one line that names the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from s2s_ft.cli import EnvironmentFault, first_line

NO_WEIGHTS = {
    b"version https://git-lfs": "is a Git LFS pointer and no weights; fetch them with git lfs pull",
    b"{": "is JSON and no weights; give the weights under this name, and a config as config.json",
    b"<": "is a web page and no weights; the download failed, so fetch it again",
}
"""How files begin that stand in the place of weights, and what to say of them."""


def read_weights(file: Path) -> dict[str, Tensor]:
    """All tensors of a `.safetensors` file or, through torch's weights-only loader, of a `.bin`
    file.

    Raises:
        ValueError: The file is damaged, or holds anything but tensors.
        EnvironmentFault: It cannot be read.
    """
    if file.suffix == ".safetensors":
        weights: dict[str, Tensor] = _from_safetensors(
            file,
            lambda tensors: {name: tensors.get_tensor(name) for name in tensors.keys()},  # noqa: SIM118
        )
        return weights
    refuse_stand_in(file)
    try:
        loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise _damaged(file, error) from error
    except Exception as error:  # torch's unpickler raises its own kinds
        raise ValueError(
            f"{file} holds more than tensors and is not read, since unpickling could run code; "
            f"convert it to safetensors where it is trusted ({_kind_of(error)})"
        ) from error
    return _only_tensors(loaded, file)


def weight_names(file: Path) -> list[str]:
    """The names of a file's tensors; a safetensors file is not read for it."""
    if file.suffix != ".safetensors":
        return list(read_weights(file))
    names: list[str] = _from_safetensors(file, lambda tensors: list(tensors.keys()))
    return names


def refuse_stand_in(file: Path) -> None:
    """Refuse what lies where weights should be: a pointer, a config, a web page, nothing.

    Raises:
        ValueError: It is one of these, or there is no such file.
        EnvironmentFault: The file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(64)
    except FileNotFoundError as error:
        raise ValueError(f"{file} is not there; fetch or save it again") from error
    except OSError as error:
        raise EnvironmentFault(
            f"{file} cannot be read ({error.strerror}); check its permissions"
        ) from error
    if not start:
        raise ValueError(f"{file} is empty; fetch it again")
    if start[4:9] == b"\0\0\0\0{":  # the length of a safetensors header, and its first byte
        return
    for mark, fault in NO_WEIGHTS.items():
        if start.lstrip().startswith(mark):
            raise ValueError(f"{file} {fault}")


def _from_safetensors(file: Path, read: Callable[[Any], Any]) -> Any:
    refuse_stand_in(file)
    try:
        with safe_open(str(file), framework="pt") as tensors:
            return read(tensors)
    except (SafetensorError, OSError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: BaseException) -> ValueError:
    return ValueError(
        f"{file} is damaged or incomplete ({first_line(error)}); fetch or save it again"
    )


def _kind_of(error: BaseException) -> str:
    """What torch's unpickler met; it wraps that in advice which does not hold here."""
    text = str(error)
    start = text.find("Unsupported")
    return first_line(ValueError(text[start:] if start >= 0 else text)).rstrip(" .")


def _only_tensors(loaded: Any, file: Path) -> dict[str, Tensor]:
    """The tensors of a dictionary, or of the one under `model` or `state_dict` in it."""
    for inner in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(inner), dict):
            loaded = loaded[inner]
    weights = (
        {str(name): each for name, each in loaded.items() if isinstance(each, Tensor)}
        if isinstance(loaded, dict)
        else {}
    )
    if not weights:
        raise ValueError(f"{file} holds no weights by name; give a checkpoint's weight file")
    return weights
