"""Checkpoint folders: written whole or not at all, and checked before they are trusted.

    ckpt-1500/
        config.json, model.safetensors, tokenizer …   what any user of transformers can open
        optimizer.safetensors       AdamW's moments and step, `exp_avg/<parameter name>` and so on
        random_state.safetensors    torch's generators (CPU; CUDA where the run was there)
        training_state.json         progress, schedule, options; size and SHA-256 of each other file

Notable: a checkpoint is written into `ckpt-<step>.tmp` beside its place, every file is synced,
`training_state.json` comes last, and a rename commits it. So a folder with the final name is
complete, unless the disk damages it later, which the checksums show. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from s2s_ft.cli import EnvironmentFault

logger = logging.getLogger(__name__)

RECORD = "training_state.json"
OPTIMIZER = "optimizer.safetensors"
RANDOM_STATE = "random_state.safetensors"
_FOLDER = re.compile(r"ckpt-(\d+)")
_TEMPORARY = re.compile(r"ckpt-\d+\.(tmp|old)")

Record = dict[str, Any]
"""What `training_state.json` holds; every value is plain JSON."""


def prepare_output_folder(output_dir: Path) -> None:
    """Make the folder, check that it can be written, remove what an interrupted save left.

    Raises:
        EnvironmentFault: The folder cannot be made or written.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        probe = output_dir / ".write-test"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise EnvironmentFault(
            f"--output_dir {output_dir} cannot be written: {error.strerror or error}"
        ) from error
    for folder in _folders(output_dir, _TEMPORARY):
        logger.warning("removing %s, left by an interrupted save", folder)
        shutil.rmtree(folder)


def checkpoint_folders(output_dir: Path) -> list[Path]:
    """Every `ckpt-<step>` folder, the newest first, whatever state it is in."""
    return sorted(_folders(output_dir, _FOLDER), key=checkpoint_step, reverse=True)


def checkpoint_step(folder: Path) -> int:
    """The step in the name of a checkpoint folder."""
    return int(folder.name.removeprefix("ckpt-"))


def remove_checkpoints(output_dir: Path) -> None:
    """Remove every checkpoint; the newest goes last, so that a stop half-way costs least."""
    for folder in reversed(checkpoint_folders(output_dir)):
        logger.warning("--overwrite_output_dir: removing %s", folder)
        shutil.rmtree(folder)


def newest_valid(output_dir: Path) -> Path | None:
    """The newest checkpoint that is whole; those that are not are reported and passed over."""
    for folder in checkpoint_folders(output_dir):
        fault = find_fault(folder)
        if fault is None:
            return folder
        logger.warning("passing over the damaged checkpoint %s: %s", folder, fault)
    return None


def find_fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None: each file needs its recorded size and checksum."""
    try:
        files = read_record(folder)["files"]
        for name, expected in files.items():
            if (folder / name).stat().st_size != expected["size"]:
                return f"{name} has not the recorded size"
            if _sha256(folder / name) != expected["sha256"]:
                return f"{name} has not the recorded checksum"
    except OSError as error:
        return f"{Path(error.filename or RECORD).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{RECORD} cannot be understood: {error}"
    return None


def read_record(folder: Path) -> Record:
    """The `training_state.json` of a checkpoint."""
    record: Record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return record


def commit(
    output_dir: Path, step: int, write: Callable[[Path], None], record: Mapping[str, Any]
) -> Path:
    """Write a checkpoint so that it is there whole or not at all.

    Args:
        output_dir: Folder the checkpoint goes into.
        step: Updates taken; names the checkpoint.
        write: Writes every file but the record into the folder it is given.
        record: What goes into `training_state.json`, to which the files' sizes and
            checksums are added.

    Returns:
        The folder of the checkpoint.

    Raises:
        OSError: It could not be written; earlier checkpoints stand as they were.
    """
    final = output_dir / f"ckpt-{step}"
    temporary = output_dir / f"{final.name}.tmp"
    with _told_as_environment_trouble(final, temporary):
        temporary.mkdir()
        write(temporary)
        paths = sorted(path for path in temporary.rglob("*") if path.is_file())
        files = {
            path.relative_to(temporary).as_posix(): {
                "size": path.stat().st_size,
                "sha256": _sha256(path),
            }
            for path in paths
        }
        text = json.dumps({**record, "files": files}, indent=2, ensure_ascii=False)
        (temporary / RECORD).write_text(text + "\n", encoding="utf-8")
        # Weight files are written for their owner alone; whoever may open the folder may read them.
        readable = temporary.stat().st_mode & 0o666
        for path in [*paths, temporary / RECORD]:
            path.chmod(readable)
            _sync(path)
        for folder in [path for path in temporary.rglob("*") if path.is_dir()]:
            _sync(folder)
        _sync(temporary)
        _put_in_place(temporary, final)
        _sync(output_dir)
    return final


def save_optimizer(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the optimizer's state, each tensor under the name of the parameter it belongs to."""
    tensors = {
        f"{key}/{name}": value.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    save_file(tensors, folder / OPTIMIZER)


def load_optimizer(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer the state that `save_optimizer` wrote.

    Raises:
        ValueError: The file speaks of parameters that the optimizer does not train.
    """
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(folder / OPTIMIZER).items():
        kind, name = key.split("/", maxsplit=1)
        by_name.setdefault(name, {})[kind] = value
    names = {parameter: name for name, parameter in model.named_parameters()}
    state = optimizer.state_dict()
    order = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    strangers = by_name.keys() - set(order)
    if strangers:
        raise ValueError(
            f"{folder / OPTIMIZER} has a state of {min(strangers)}, which is not trained now; "
            "undo the change of --fix_word_embedding, or give --overwrite_output_dir to start anew"
        )
    state["state"] = {index: by_name[name] for index, name in enumerate(order) if name in by_name}
    optimizer.load_state_dict(state)


def save_random_state(folder: Path, device: torch.device) -> None:
    """Write the state of the generators that dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    save_file(states, folder / RANDOM_STATE)


def load_random_state(folder: Path, device: torch.device) -> None:
    """Set the generators to what was saved; to be done after everything else that may draw."""
    states = load_file(folder / RANDOM_STATE)
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _folders(output_dir: Path, pattern: re.Pattern[str]) -> Iterator[Path]:
    """The folders directly inside `output_dir` whose whole name has the pattern."""
    for path in list(output_dir.iterdir()):
        if pattern.fullmatch(path.name) and path.is_dir():
            yield path


@contextmanager
def _told_as_environment_trouble(final: Path, temporary: Path) -> Iterator[None]:
    """Turn what a full disk raises into an OSError that says what stands; clear the rest away."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OSError(
            f"{final} could not be saved: {reason}; earlier checkpoints are untouched, "
            "and the same command resumes from the newest one once there is room"
        ) from error


def _put_in_place(temporary: Path, final: Path) -> None:
    """Rename; a damaged checkpoint that has the name already makes way first."""
    if final.exists():
        old = final.with_name(f"{final.name}.old")
        final.rename(old)
        temporary.rename(final)
        shutil.rmtree(old)
    else:
        temporary.rename(final)


def _sync(path: Path) -> None:
    """Have the operating system put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
