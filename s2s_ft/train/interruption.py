"""Signals that end a run in good order: the update is finished and saved, then the run stops.

Notable: SIGTERM is what clusters send before they take a machine away, SIGUSR1 what SLURM can be
told to send earlier, SIGINT the keyboard. A launcher passes on to its workers what the system has
already told them, so the same signal comes twice within moments: repetitions change nothing. Only a
second Ctrl-C, by a person who has waited, is obeyed at once. (Whoever must end a run without its
leave has SIGKILL, which costs the updates since the last checkpoint and nothing else.)

A handler runs wherever the program happens to be, in the middle of writing a line of the log too;
so it only takes a note, and the log hears of it when the note is read.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

ECHO_SECONDS = 2.0
"""A SIGINT that comes within this time of the first one is the same one, passed on."""


class Interruption:
    """Notes the first signal while it is entered; at the end puts earlier handlers back."""

    def __init__(self) -> None:
        """Note nothing yet."""
        self._noted: int | None = None
        self._when = 0.0
        self._is_told = False
        self._before: dict[int, Any] = {}

    @property
    def signal(self) -> int | None:
        """Number of the signal that came first, or None."""
        if self._noted is not None and not self._is_told:
            self._is_told = True
            name = signal.Signals(self._noted).name
            logger.warning("%s: finishing the update and saving", name)
        return self._noted

    def __enter__(self) -> Interruption:
        """Take over the signals; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put the handlers from before back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, _frame: FrameType | None) -> None:
        """Remember the first signal; obey a late second Ctrl-C."""
        now = time.monotonic()
        if self._noted is None:
            self._noted, self._when = number, now
        elif number == self._noted == signal.SIGINT and now - self._when > ECHO_SECONDS:
            raise KeyboardInterrupt
