"""TensorBoard's curves and texts, written as they come.

Notable: tensorboardX's own writer hands events to a thread, through a queue of ten: where a disk
fills up the thread dies, and the eleventh event waits for ever; and what is in the queue at a
checkpoint may never reach the disk. Here only its file format is used. A file that cannot be
written any further costs the curves from there on and not the run.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar, text

from s2s_ft.train.lines import METRICS

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 30.0
"""How long an event may wait for others before who looks on can see it."""


class TensorBoard:
    """A file of events, one for each start of a run."""

    def __init__(self, folder: Path, *, first_step: int) -> None:
        """Open a new file; of earlier ones, what was told about later updates is hidden.

        Args:
            folder: Of all files of the run; made if it is not there.
            first_step: Updates already taken.

        Raises:
            OSError: It cannot be made.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        # TensorBoard reads files in the order of their names; two may begin in the same second.
        suffix = f".{time.time_ns()}.{os.getpid()}"
        self._file: EventsWriter | None = EventsWriter(str(folder / "events"), suffix)
        self._flushed = time.monotonic()
        start = SessionLog(status=SessionLog.START)
        self._add(Event(step=first_step + 1, file_version="brain.Event:2"))
        self._add(Event(step=first_step + 1, session_log=start))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Write a point of a curve."""
        self._add(Event(step=step, summary=scalar(name, value)))

    def text(self, name: str, content: str, step: int) -> None:
        """Write a text, in Markdown."""
        self._add(Event(step=step, summary=text(name, content)))

    def flush(self) -> None:
        """Put everything on the disk."""
        self._flushed = time.monotonic()
        with self._giving_up() as file:
            if file is not None:
                file.flush()

    def close(self) -> None:
        """Put everything on the disk, and close the file."""
        with self._giving_up() as file:
            if file is not None:
                file.close()
        self._file = None

    def _add(self, event: Any) -> None:
        event.wall_time = time.time()
        with self._giving_up() as file:
            if file is not None:
                file.write_event(event)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    @contextmanager
    def _giving_up(self) -> Iterator[EventsWriter | None]:
        """Give the file; None after the first error, which is told: a torn event ends a file."""
        try:
            yield self._file
        except OSError as error:
            logger.warning(
                "TensorBoard's %s cannot be written (%s): its curves end here; %s has every number",
                self._folder,
                error.strerror or error,
                METRICS,
            )
            with suppress(OSError):
                if self._file is not None:
                    self._file.close()
            self._file = None
