"""Folders that are being built beside their place, and what killed builders left of theirs.

    .<name>.<unique>         being built         .<name>.<unique>.damaged   made way, being deleted
    .<name>.<unique>.lock    held by who builds; the system lets go of it when the process ends

Notable: several runs may share the folder above, so a name alone does not tell a build that goes on
from one that was killed. What is cleared away is certainly nobody's: its lock is free, and was
taken on this machine, since not every network file system tells others of locks.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from s2s_ft.storage.removal import discard

logger = logging.getLogger(__name__)

_LOCK = ".lock"
_LOCKS = f".*.{'[0-9a-f]' * 32}{_LOCK}"


@contextmanager
def under_construction(final: Path) -> Iterator[Path]:
    """Give a new folder beside the place of another; what is left of it at the end is removed.

    Args:
        final: Where it shall be; the body renames it.

    Yields:
        The folder.

    Raises:
        OSError: It cannot be made.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
    lock = temporary.with_name(temporary.name + _LOCK)
    with lock.open("x", encoding="utf-8") as held:
        try:
            with suppress(OSError):  # there are no locks here, so nobody will find this one free
                fcntl.flock(held, fcntl.LOCK_EX)
            held.write(socket.gethostname())
            held.flush()
            temporary.mkdir()
            yield temporary
        finally:
            with suppress(OSError):
                discard(temporary)
            lock.unlink(missing_ok=True)


def clear_abandoned(parent: Path) -> None:
    """Remove what builders that were killed left.

    What cannot be removed is told about.

    Args:
        parent: Where folders are built; it may be absent.
    """
    for lock in sorted(parent.glob(_LOCKS)):
        try:
            with lock.open("r+", encoding="utf-8") as found:
                if _is_abandoned(found):
                    _clear(lock)
        except FileNotFoundError:  # its builder has just finished
            continue
        except OSError as error:
            logger.warning("%s could not be removed: %s", lock, error.strerror or error)


def _is_abandoned(lock: IO[str]) -> bool:
    """Whether a lock was taken on this machine, by a process that is no more; it is ours then."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody builds, or there are no locks here
        return False
    return lock.read() == socket.gethostname()


def _clear(lock: Path) -> None:
    """Remove what a lock stood for, and the lock last."""
    temporary = lock.with_suffix("")
    for path in (temporary, temporary.with_name(f"{temporary.name}.damaged")):
        if os.path.lexists(path):
            logger.warning("removing %s, left by a start that was killed", path)
            discard(path)
    lock.unlink(missing_ok=True)
