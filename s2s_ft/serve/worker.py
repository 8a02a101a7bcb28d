"""A thread of its own for what must not run on the event loop: one for the model, which no other
thread touches, and one that reads texts.

Notable: it is a daemon, so that a model that hangs keeps nobody from ending the process; see
`run.py` for how the process ends then.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

_Call = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class Worker:
    """Runs functions one after another on its thread."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def call(self, function: Callable[[], Result]) -> Result:
        """Run `function` on the thread, after what was given before.

        Whoever waits may be cancelled; a function that has begun ends all the same, and one that
        has not never will.

        Raises:
            Whatever the function raises.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._calls.put((function, future))
        return await future

    def stop(self, timeout: float) -> bool:
        """Let the thread end after what it has been given.

        Returns:
            Whether it has ended within `timeout` seconds.
        """
        self._calls.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            function, future = call
            if not future.cancelled():
                deliver = _outcome(function, future)
                with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
                    future.get_loop().call_soon_threadsafe(deliver)
                del deliver
            del call, function, future  # nothing is held while there is nothing to do


def _outcome(function: Callable[[], Result], future: asyncio.Future[Result]) -> Callable[[], None]:
    """Run a function; what is returned tells the future of it."""
    try:
        result = function()
    except BaseException as fault:  # whoever waits deals with it
        raised = fault
        return lambda: None if future.done() else future.set_exception(raised)
    return lambda: None if future.done() else future.set_result(result)
