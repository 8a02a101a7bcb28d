"""Having files and folders on the disk, not only on their way there (standard library only)."""

import errno
import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have the operating system put a file, or the names in a folder, on the disk.

    Raises:
        OSError: It cannot.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; they keep its names safe by themselves.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def sync_all(folder: Path) -> None:
    """Have everything in a folder on the disk, its names too, and readable by who may open it.

    Raises:
        OSError: It cannot be.
    """
    readable = folder.stat().st_mode & 0o666  # weight files are written for their owner alone
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(readable)
        sync(path)
    sync(folder)
