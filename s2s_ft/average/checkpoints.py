"""Which checkpoints are averaged, and whether they belong together.

Notable: a mean makes sense between checkpoints of one architecture and one tokenizer only, so
configs, tokenizers and the names and shapes of all weights are compared before anything is written.
Checkpoints of a run are checked by their own checksums, as training does before it trusts them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from s2s_ft.average.options import AverageOptions
from s2s_ft.model.described import CONFIG_NOISE
from s2s_ft.model.files import read_weights
from s2s_ft.model.located import weight_files
from s2s_ft.storage.checkpoint_record import RECORD, find_fault
from s2s_ft.storage.model_name import step_of
from s2s_ft.text import TextCodec

logger = logging.getLogger(__name__)

CONFIG = "config.json"


@dataclass(frozen=True)
class Weights:
    """The weights of one checkpoint, read one by one where its files allow that.

    Attributes:
        folder: The checkpoint.
        sources: By name: an open file, or the tensors of one that had to be read at once.
    """

    folder: Path
    sources: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, stack: ExitStack) -> Weights:
        """Open the files of a checkpoint.

        Raises:
            ValueError: It has none, or one is damaged.
        """
        sources: dict[str, Any] = {}
        for file in weight_files(folder):
            if file.suffix != ".safetensors":
                loaded = read_weights(file)
                sources |= dict.fromkeys(loaded, loaded)
                continue
            try:
                opened = stack.enter_context(safe_open(str(file), framework="pt"))
            except SafetensorError as error:
                raise ValueError(f"{file} is damaged ({error}); save or copy it again") from error
            sources |= dict.fromkeys(opened.keys(), opened)
        return cls(folder, sources)

    def tensor(self, name: str) -> Tensor:
        """One weight."""
        source = self.sources[name]
        found: Tensor = source[name] if isinstance(source, dict) else source.get_tensor(name)
        return found


def checkpoints_of(options: AverageOptions) -> list[Path]:
    """The folders to average, oldest first where `--last` chooses them.

    Raises:
        ValueError: One is no checkpoint, or a run has too few.
    """
    folders = [Path(name) for name in options.model_path]
    if options.last is not None:
        folders = _newest(folders[0], options.last)
    for folder in folders:
        _check(folder)
        fault = None if options.last is not None else _damage(folder)  # of those it was looked for
        if fault is not None:
            raise ValueError(
                f"--model_path {folder} is damaged: {fault}; leave it out, or remove {RECORD} from "
                "it if somebody meant to change it"
            )
    return folders


def check_same_kind(folders: Sequence[Path]) -> None:
    """Refuse checkpoints of different architectures or tokenizers.

    Raises:
        ValueError: Two differ; names both and the first difference.
    """
    first, *others = folders
    config, fingerprint = _config(first), TextCodec.load(first).fingerprint
    for folder in others:
        other = _config(folder)
        for key in sorted(config.keys() | other.keys()):
            if config.get(key) != other.get(key):
                raise ValueError(
                    f"--model_path {folder} is not of the kind of {first}: {key} in {CONFIG} is "
                    f"{other.get(key)}, not {config.get(key)}; average checkpoints of one kind"
                )
        if TextCodec.load(folder).fingerprint != fingerprint:
            raise ValueError(
                f"--model_path {folder} has another tokenizer than {first}; average checkpoints "
                "of one tokenizer"
            )


def _newest(run: Path, count: int) -> list[Path]:
    """The newest whole checkpoints of a run, oldest first."""
    if not run.is_dir():
        raise ValueError(f"--model_path {run}: there is no such folder")
    checkpoints = [path for path in run.iterdir() if step_of(path) >= 0 and path.is_dir()]
    found: list[Path] = []
    for path in sorted(checkpoints, key=step_of, reverse=True):
        fault = _damage(path) if len(found) < count else None
        if fault is not None:
            logger.warning("passing over the damaged checkpoint %s: %s", path, fault)
        elif len(found) < count:
            found.append(path)
    if len(found) < count:
        raise ValueError(
            f"--last {count}: {run} holds {len(found)} checkpoints (ckpt-<step>); name the "
            "--output_dir of a run, or lower --last"
        )
    return found[::-1]


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint of a run by its own record; None where there is no record."""
    return find_fault(folder) if (folder / RECORD).exists() else None


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"--model_path {folder}: there is no such folder")
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"--model_path {folder} is an adapter, and the mean of adapters is not the adapter of "
            "the mean; train with --peft_save merged"
        )
    if not (folder / CONFIG).is_file() or not weight_files(folder):
        what = CONFIG if weight_files(folder) else "model.safetensors"
        of_run = (
            " (of a run, name checkpoints or give --last)" if list(folder.glob("ckpt-*")) else ""
        )
        raise ValueError(f"--model_path {folder} has no {what}; name a checkpoint folder{of_run}")


def _config(folder: Path) -> dict[str, Any]:
    """What a config says of the architecture and of what the model was fine-tuned for."""
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return {key: value for key, value in content.items() if key not in CONFIG_NOISE}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{folder / CONFIG} is no JSON object ({error}); copy it again") from error
