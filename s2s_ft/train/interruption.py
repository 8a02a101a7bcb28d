"""Signals that end a run in good order: the update is finished and saved, then the run stops.

Notable: SIGTERM is what clusters send before they take a machine away, SIGUSR1 what SLURM can be
told to send earlier, SIGINT the keyboard. A second one of the same kind is not waited for: it has
the effect it had before.
"""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Interruption:
    """Notes the first signal while it is entered; the handlers from before are put back at the end.

    Attributes:
        signal: Number of the signal that came, or None.
    """

    def __init__(self) -> None:
        """Note nothing yet."""
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

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
        """Remember the signal, and let the next one of its kind through."""
        self.signal = number
        signal.signal(number, self._before[number])
        logger.warning("%s: finishing the update and saving", signal.Signals(number).name)
