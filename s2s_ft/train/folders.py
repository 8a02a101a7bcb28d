"""Folders that are written whole or not at all.

    ckpt-1500           in its place            ckpt-1500.old       being replaced
    ckpt-1500.tmp       being written           ckpt-1500.removed   being deleted

Notable: a folder is written beside its place, every file is synced, `training_state.json` comes
last (see `checkpoint_record.py`), and a rename commits it. A folder that has the name already is
renamed away before and deleted after that, so at every instant a whole copy is there under one of
the names above; the next start puts it in its place (`put_right`). What is deleted loses its name
first. So a folder with a final name is complete, unless the disk damages it later, which the
checksums show. What somebody else has put into a folder goes over to the one that takes its place.
Any of them may be a link to a folder elsewhere; then the link is renamed and deleted, and the
folder stays.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from s2s_ft.cli import EnvironmentFault
from s2s_ft.storage import syncing
from s2s_ft.storage.checkpoint_record import RECORD, find_fault, read_record, write_record
from s2s_ft.storage.removal import discard

logger = logging.getLogger(__name__)

_NEW, _OLD, _REMOVED = ".tmp", ".old", ".removed"


def commit(final: Path, write: Callable[[Path], None], record: Mapping[str, Any]) -> Path:
    """Write a folder so that it is there whole or not at all, in place of one that has its name.

    Args:
        final: The folder, `ckpt-<step>` or `best` in the output folder.
        write: Writes every file but the record into the folder it is given.
        record: What goes into `training_state.json`, to which the files' sizes and
            checksums are added.

    Returns:
        The folder.

    Raises:
        OSError: It could not be written; whatever was there stands as it was.
    """
    temporary = final.with_name(final.name + _NEW)
    with _told_as_environment_trouble(final, temporary):
        discard(temporary)
        temporary.mkdir()
        write(temporary)
        write_record(temporary, record)
        syncing.sync_all(temporary)
        _put_in_place(temporary, final)
    return final


def remove(folder: Path) -> None:
    """Delete a checkpoint, its name first: no moment shows a part of it under that name."""
    _remove_as(folder.with_name(folder.name + _REMOVED), folder)


def _remove_as(going: Path, folder: Path) -> None:
    """Delete a folder under a name by which the next start knows that it is to go."""
    discard(going)
    folder.rename(going)
    syncing.sync(folder.parent)
    discard(going)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each known to the disk as soon as it is there."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        syncing.sync(path.parent)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")


@contextmanager
def writing_in(output_dir: Path) -> Iterator[None]:
    """Name the folder, and what to do, where the system does not let us write in it.

    Raises:
        EnvironmentFault: It did not.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"--output_dir {output_dir} cannot be written: {error.strerror or error}; make room or "
            "mend its permissions, or name another folder"
        ) from error


def put_right(parent: Path, names: re.Pattern[str]) -> None:
    """Finish or undo what a save or a removal was at when it was stopped.

    What cannot be deleted is told about: it is in nobody's way until the same folder is saved anew.

    Args:
        parent: Where the folders are.
        names: What their names have as a whole; others are left alone.
    """
    leftovers = [
        path
        for suffix in (_NEW, _OLD, _REMOVED)
        for path in sorted(parent.glob(f"*{suffix}"))
        if names.fullmatch(path.stem) and (path.is_dir() or path.is_symlink())
    ]
    for leftover in leftovers:
        final = leftover.with_suffix("")
        is_wanted = leftover.suffix != _REMOVED and find_fault(final) is not None
        if is_wanted and find_fault(leftover) is None:
            logger.warning("an interrupted save left %s, which is whole: it is kept", leftover)
            if os.path.lexists(final):
                _hand_over(final, leftover)
                remove(final)
            leftover.rename(final)
            syncing.sync(parent)
        else:
            logger.warning("removing %s, left by an interrupted save", leftover)
            _try_to_discard(leftover, heir=final if leftover.suffix == _OLD else None)


@contextmanager
def _told_as_environment_trouble(final: Path, temporary: Path) -> Iterator[None]:
    """Turn what a full disk raises into an OSError that says what stands; clear the rest away."""
    try:
        yield
    except Exception as error:
        reason = _trouble_with_the_disk(error)
        if reason is None:
            raise
        old = final.with_name(final.name + _OLD)
        if os.path.lexists(old) and not os.path.lexists(final):
            old.rename(final)
        _try_to_discard(temporary)
        raise OSError(
            f"{final} could not be saved: {reason}; earlier checkpoints are untouched, "
            "and the same command resumes from the newest one once there is room"
        ) from error


def _trouble_with_the_disk(error: Exception) -> str | None:
    """What the system said, if it was the system: libraries in Rust have exceptions of their own.

    safetensors raises its own class, tokenizers the bare `Exception`, with the system's number in
    the text.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number is not None and (isinstance(error, SafetensorError) or type(error) is Exception):
        return os.strerror(int(number.group(1)))
    return None


def _put_in_place(temporary: Path, final: Path) -> None:
    """Rename; what has the name makes way first and is deleted once the disk knows the new one."""
    old = final.with_name(final.name + _OLD)
    if os.path.lexists(final):
        _hand_over(old, final)
        discard(old)
        final.rename(old)
    temporary.rename(final)
    syncing.sync(final.parent)
    _try_to_discard(old, heir=final)


def _hand_over(folder: Path, heir: Path) -> None:
    """Move what is not a checkpoint's own to the folder that takes its place, before it goes.

    What has the name of a new file there gets `.old` behind it.
    """
    if folder.is_symlink():
        return  # what it leads to stays
    own = _own_files(folder, heir)
    inside = [(path, path.relative_to(folder).as_posix()) for path in sorted(folder.rglob("*"))]
    for path, name in [(folder, heir.name)] if folder.is_file() else inside:
        if name in own or (path.is_dir() and not path.is_symlink()):
            continue
        place = heir / name
        if os.path.lexists(place):
            place = place.with_name(place.name + _OLD)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, place)  # the heir may be a link to another disk
        syncing.sync(place.parent)


def _own_files(folder: Path, heir: Path) -> set[str]:
    """What its record lists; without a record it is no checkpoint, and all of it somebody's own."""
    try:
        return {RECORD, *read_record(folder)["files"]}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # Damaged: what has the name of a file of the heir's was its own.
        return {path.relative_to(heir).as_posix() for path in heir.rglob("*")}


def _try_to_discard(leftover: Path, *, heir: Path | None = None) -> None:
    """Delete what nobody needs any more, but for what goes to an heir; if it cannot be, say so."""
    try:
        if heir is None:
            discard(leftover)
        elif os.path.lexists(leftover):
            _hand_over(leftover, heir)
            # A part of it, without its record, would be taken for somebody else's.
            _remove_as(heir.with_name(heir.name + _REMOVED), leftover)
    except OSError as error:
        logger.warning("%s could not be removed: %s", leftover, error.strerror or error)
