"""A new folder that is there whole or not at all (standard library only).

Notable: everything is written into a hidden folder of a name of its own beside the place, synced,
and renamed at the end; what goes wrong before that leaves nothing behind.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from s2s_ft.storage import syncing
from s2s_ft.storage.output_file import writing


def make_writable(folder: str | Path) -> None:
    """Make a folder and those above it, and find out at once whether it can be written into.

    Raises:
        OSError: It cannot be made or written.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder):
        pass


@contextmanager
def written_whole(folder: str | Path) -> Iterator[Path]:
    """Give a folder to write into, and put it in its place once that went well.

    Args:
        folder: Where it shall be, as `--output_dir` names it, or a link to there; nothing may be
            there but an empty folder.

    Yields:
        The folder to write into.

    Raises:
        ValueError: Something has that name already, or an empty folder that nothing can replace.
        OSError: It cannot be written; names the flag.
    """
    final = _checked(folder)
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
    with writing(folder, "--output_dir"):
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    try:
        yield temporary
        with writing(folder, "--output_dir"):
            syncing.sync_all(temporary)
            temporary.replace(final)  # an empty folder makes way
            syncing.sync(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _checked(folder: str | Path) -> Path:
    """The place itself, links followed, once it is sure that a rename can fill it."""
    final = Path(os.path.realpath(folder))
    if os.path.lexists(final) and (not final.is_dir() or any(final.iterdir())):
        raise ValueError(f"--output_dir {folder}: is there already; name a folder that is not")
    if final.is_dir() and (final.samefile(os.curdir) or final.is_mount()):
        # The rename would leave the shell in a folder that is gone, or fail after all the work.
        what = "a mount point" if final.is_mount() else "the folder that you are in"
        raise ValueError(f"--output_dir {folder}: is {what}; name a folder in it")
    return final
