"""The checkpoints of a run: which there are, which of them can be trusted, which may go.

    ckpt-1500/
        config.json, model.safetensors, tokenizer …   what any user of transformers can open
        optimizer.safetensors       AdamW's moments and step, `exp_avg/<parameter name>` and so on
        training_state.json         progress, schedule, options, checksums (`checkpoint_record.py`)
    best/                           the same without the optimizer, of the best look at held-out
                                    rows

Notable: every checkpoint is checked before it is trusted, and the newest that is whole before an
older one is deleted. A folder that only has the name of one is nobody's to delete. Nothing is
pickled.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from s2s_ft.cli import EnvironmentFault
from s2s_ft.model.located import SAFETENSORS
from s2s_ft.options import TrainOptions
from s2s_ft.storage.checkpoint_record import RECORD, find_fault
from s2s_ft.storage.model_name import CHECKPOINT, step_of
from s2s_ft.storage.output_file import clear_partials
from s2s_ft.storage.output_folder import make_writable
from s2s_ft.train.folders import make_folder, put_right, remove, writing_in
from s2s_ft.train.lines import METRICS, OPTIONS, SAMPLES

logger = logging.getLogger(__name__)

OPTIMIZER = "optimizer.safetensors"
BEST = "best"
_OURS = re.compile(f"{CHECKPOINT.pattern}|{BEST}")


def prepare_output_folder(output_dir: Path) -> None:
    """Make the folder, check that it can be written, put right what an interrupted save left.

    Raises:
        EnvironmentFault: The folder cannot be made or written.
    """
    with writing_in(output_dir):
        make_folder(output_dir)
        make_writable(output_dir)
        put_right(output_dir, _OURS)
        for name in (OPTIONS, METRICS, SAMPLES):  # which nobody writes but who has the folder
            clear_partials(output_dir / name)


def checkpoint_folders(output_dir: Path) -> list[Path]:
    """Every `ckpt-<step>` folder, the newest first, whatever state it is in."""
    found = [path for path in output_dir.iterdir() if step_of(path) >= 0 and path.is_dir()]
    return sorted(found, key=step_of, reverse=True)


def check_overwriting(options: TrainOptions) -> None:
    """Refuse an `--overwrite_output_dir` that would remove what the run is made from.

    Raises:
        ValueError: It would; nothing has been touched.
    """
    found = read_from_checkpoint(options) if options.checkpoint.overwrite_output_dir else None
    if found is not None:
        flag, value, folder = found
        raise ValueError(
            f"--overwrite_output_dir would remove {folder}, and {flag} {value} is read from there: "
            "name another --output_dir, or copy what is read to another place first"
        )


def read_from_checkpoint(options: TrainOptions) -> tuple[str, str, Path] | None:
    """What the command line reads from a checkpoint in the output folder itself.

    Returns:
        A flag, its value and the checkpoint's folder, links resolved; None where there is none.
    """
    output_dir = Path(options.checkpoint.output_dir)
    folders = _removable(output_dir) if output_dir.is_dir() else []
    read = {
        "--model_name_or_path": options.model.model_name_or_path,
        "--config_name": options.model.config_name,
        "--tokenizer_name": options.model.tokenizer_name,
        "--additional_tokens": options.model.additional_tokens,
        "--teacher_model": options.distillation.teacher_model,
        "--train_file": options.data.train_file,
        "--dev_file": options.validation.dev_file,
    }
    for flag, value in read.items():
        for folder in folders:
            if value and _real(value).is_relative_to(_real(folder)):
                return flag, value, folder
    return None


def remove_checkpoints(output_dir: Path) -> None:
    """Remove every checkpoint; the newest goes last, so that a stop half-way costs least.

    Raises:
        EnvironmentFault: One cannot be removed.
    """
    folders = _removable(output_dir)
    for folder in folders:
        logger.warning("--overwrite_output_dir: removing %s", folder)
        try:
            remove(folder)
        except OSError as error:
            raise EnvironmentFault(
                f"--overwrite_output_dir: {folder} cannot be removed "
                f"({error.strerror or error}): remove it, or name another --output_dir"
            ) from error
    for folder in checkpoint_folders(output_dir):
        logger.warning("%s is left alone: it holds no checkpoint", folder)


def _removable(output_dir: Path) -> list[Path]:
    """What `--overwrite_output_dir` removes, in that order."""
    named = [output_dir / BEST, *reversed(checkpoint_folders(output_dir))]
    return [folder for folder in named if _is_ours(folder)]


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds a checkpoint, whole or damaged, and not just has the name of one."""
    return any((folder / name).exists() for name in (RECORD, SAFETENSORS, OPTIMIZER))


def _real(path: str | Path) -> Path:
    """A path without links; of what is not there, too, as a name on the hub."""
    return Path(os.path.realpath(path))


def newest_valid(output_dir: Path) -> Path | None:
    """The newest checkpoint that is whole; those that are not are reported and passed over."""
    folders = checkpoint_folders(output_dir)
    for folder in folders:
        fault = find_fault(folder)
        if fault is None:
            return folder
        if _is_ours(folder):
            logger.warning("passing over the damaged checkpoint %s: %s", folder, fault)
        else:
            logger.warning(
                "passing over %s: it holds no checkpoint of this toolkit (--model_name_or_path "
                "starts from weights of the original's)",
                folder,
            )
    if folders:
        logger.warning("%s has no whole checkpoint left: the run starts anew", output_dir)
    return None


def prune(output_dir: Path, keep: int, *, saved: Path | None = None) -> None:
    """Delete all but the newest checkpoints, once the newest is known to be whole.

    Damaged checkpoints newer than the newest whole one neither count nor go, and neither do folders
    without a checkpoint. A folder that cannot be deleted is told about, and the run goes on.

    Args:
        output_dir: Folder of the checkpoints.
        keep: How many stay, the newest whole one among them; 0 = all.
        saved: The one that this process has just written and summed up, which is not read again.
    """
    if keep < 1:
        return
    folders = [folder for folder in checkpoint_folders(output_dir) if _is_ours(folder)]
    while len(folders) > keep:
        if folders[0] == saved or find_fault(folders[0]) is None:
            break
        folders = folders[1:]
    for folder in reversed(folders[keep:]):
        try:
            remove(folder)
        except OSError as error:
            logger.warning("%s could not be removed: %s", folder, error.strerror or error)
        else:
            logger.info("removed %s (--keep_checkpoints %d)", folder, keep)


def save_optimizer(folder: Path, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write the optimizer's state: parameter name -> kind (`exp_avg`, …) -> tensor."""
    tensors = {
        f"{kind}/{name}": value.detach().cpu().contiguous()
        for name, kinds in state.items()
        for kind, value in kinds.items()
    }
    save_file(tensors, folder / OPTIMIZER)


def read_optimizer(folder: Path) -> dict[str, dict[str, Tensor]]:
    """What `save_optimizer` wrote, on the CPU."""
    state: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(folder / OPTIMIZER).items():
        kind, name = key.split("/", maxsplit=1)
        state.setdefault(name, {})[kind] = value
    return state
