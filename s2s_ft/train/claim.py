"""One run at a time in an output folder.

Notable: the claim is a lock that the system drops when its process ends, however that happens, so
nothing has to be cleaned up. It matters where a launcher is killed and its workers live on: a
second start would otherwise write between their checkpoints, and take their half-written ones for
leftovers.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s2s_ft.cli import EnvironmentFault
from s2s_ft.train.folders import make_folder, writing_in

logger = logging.getLogger(__name__)

LOCK = ".lock"
PATIENCE_SECONDS = 120.0
"""How long to wait for an earlier run to end. One that was told to stop saves first, and a network
file system takes its time to notice that a machine is gone."""

POLL_SECONDS = 0.2


@contextmanager
def claimed(output_dir: Path, *, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Have an output folder for the time of the body; it is made if it is not there.

    Args:
        output_dir: Folder of the run.
        patience: Seconds to wait where another run has it.

    Raises:
        EnvironmentFault: Another run has it and does not end, or it cannot be written.
    """
    with writing_in(output_dir):
        make_folder(output_dir)
        file = (output_dir / LOCK).open("a+", encoding="utf-8")
    with file:
        end, is_told = time.monotonic() + patience, False
        while not _is_locked(file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "another process"
            if time.monotonic() > end:
                raise EnvironmentFault(
                    f"--output_dir {output_dir} is in use by {holder}: wait until that run ends, "
                    "end it, or name another folder"
                )
            if not is_told:
                logger.warning("%s is in use by %s: waiting for it to end", output_dir, holder)
                is_told = True
            time.sleep(POLL_SECONDS)
        with writing_in(output_dir):
            file.truncate(0)
            # Past the buffer, which would be written once more when the file is closed.
            os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield


def _is_locked(descriptor: int) -> bool:
    """Take the lock, if nobody has it; a file system without locks gives it to everybody."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        logger.warning("the output folder cannot be locked (%s): start one run in it", error)
    return True
