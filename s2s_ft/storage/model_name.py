"""What the name of a model or a tokenizer means: a path, or an id on the hub (standard library
only).
"""

import re
from pathlib import Path

CHECKPOINT = re.compile(r"ckpt-(\d+)")
"""What the folders of checkpoints are called."""

MOST_NAMED = 5
"""Folders that a message names."""


def is_missing_path(name: str) -> bool:
    """Whether a name can only be a path, and nothing is there.

    A hub id is `name` or `owner/name`. Where the first part of that is the folder of a run here,
    what is meant lies in it: `run/ckpt-4` is a checkpoint that is not there, and the hub would be
    asked in vain. A folder of any other kind may have the name of an owner.
    """
    only_a_path = not _may_be_an_id(name) or _is_in_a_run(name)
    return only_a_path and not Path(name).exists()


def folders_beside(name: str) -> str:
    """What to add where a folder is missed: the checkpoints beside it, or why the hub is not asked.

    Args:
        name: As it was given; nothing is there.

    Returns:
        The end of a message, or nothing.
    """
    parent = _parent(name)
    if parent is None:
        return ""
    found = [file.parent for file in parent.glob("*/config.json")]
    found.sort(key=lambda folder: (step_of(folder), folder.name), reverse=True)
    if not found:
        is_id = _may_be_an_id(name)
        return f"; the hub is not asked for it, as {parent} is a folder here" if is_id else ""
    more = ", …" if len(found) > MOST_NAMED else ""
    return f"; {parent} holds {', '.join(each.name for each in found[:MOST_NAMED])}{more}"


def step_of(folder: Path) -> int:
    """The number in `ckpt-<step>`, -1 for anything else."""
    named = CHECKPOINT.fullmatch(folder.name)
    return int(named[1]) if named else -1


def checkpoint_name(step: int) -> str:
    """What the checkpoint after some updates is called."""
    return f"ckpt-{step}"


def _is_in_a_run(name: str) -> bool:
    """Whether a name means a checkpoint of a run whose folder is there."""
    parent = _parent(name)
    if parent is None:
        return False
    return any(step_of(each) >= 0 for each in (Path(name), *parent.glob("ckpt-*")))


def _may_be_an_id(name: str) -> bool:
    return not name.startswith(("/", ".", "~")) and name.count("/") <= 1


def _parent(name: str) -> Path | None:
    """The folder that a path of several parts is in, None where that is not there."""
    path = Path(name)
    return path.parent if len(path.parts) > 1 and path.parent.is_dir() else None
