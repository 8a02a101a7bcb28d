"""Deleting what may be a folder, a file or a link (standard library only)."""

import shutil
from pathlib import Path


def discard(path: Path) -> None:
    """Delete a folder with all that it holds, a file, or a link; nothing there is as good.

    What a link leads to is somebody's own and stays: a checkpoint that was moved to a larger disk
    and linked back loses its name here and nothing else.

    Args:
        path: What goes.

    Raises:
        OSError: It cannot be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
