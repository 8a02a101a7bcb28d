"""From requests to the model and back: texts of many requests share its batches.

    generate()   places in the room are kept     event loop
                 the texts are made ready        reading thread    (what is wrong with them: here)
                 they wait, and are decoded      model thread      (runs.py)
                 their outcomes are put together event loop

Notable: to cancel `Batcher.generate`, because of a timeout or a client that has gone, takes its
texts out of the queue and out of the batch. One fault of a text is that of its whole request, the
rest of which is not tried.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from s2s_ft.serve.backend import Backend, Generated, Outcome, Settings, Work
from s2s_ft.serve.options import BatchingOptions
from s2s_ft.serve.runs import Runs
from s2s_ft.serve.waiting import RoomIsFull, Waiting, WaitingRoom
from s2s_ft.serve.worker import Worker


class NoMoreWork(Exception):  # noqa: N818 (a state, not a mistake)
    """The server is shutting down."""


@dataclass(eq=False)
class _Job:
    """One request: its texts, what has come of them, and who waits for it."""

    done: asyncio.Future[list[Generated]]
    num_texts: int
    results: dict[int, Generated] = field(default_factory=dict)
    texts: Sequence[Waiting[_Job]] = ()

    def note(self, index: int, outcome: Outcome) -> None:
        """What came of a text; the last one completes the job, as does a fault."""
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
            return
        self.results[index] = outcome
        if len(self.results) == self.num_texts:
            self.done.set_result([self.results[number] for number in range(self.num_texts)])

    def forget(self) -> None:
        """Nobody waits for its texts any more."""
        for text in self.texts:
            text.is_wanted = False


class Batcher:
    """Decodes texts of concurrent requests together. Made and used on one event loop.

    Attributes:
        counts: what has happened so far: `batches` (times that the model took up work), `joined`
            (texts that came into a running batch), `texts` (decoded), `dropped` (texts that left
            the queue undecoded), `faults` (of the model).
        faults_in_a_row: requests on which the model failed since it last succeeded.
    """

    def __init__(
        self, backend: Backend, model: Worker, reader: Worker, options: BatchingOptions
    ) -> None:
        """Take the model and the threads of its two halves; `start` begins to serve."""
        self._backend = backend
        self._model = model
        self._reader = reader
        self._room: WaitingRoom[_Job] = WaitingRoom(options.max_queue, options.max_batch_size)
        self._runs = Runs(
            backend,
            self._room,
            self,
            size=options.max_batch_size,
            patience_s=options.batch_wait_ms / 1000,
        )
        self._loop = asyncio.get_running_loop()
        self._unfinished: set[_Job] = set()
        self._is_closing = False
        self._running: asyncio.Task[None] | None = None
        self.counts: Counter[str] = Counter()
        self.faults_in_a_row = 0

    def start(self) -> None:
        """Begin to decode what comes."""
        self._running = self._loop.create_task(self._model.call(self._runs.go_on))

    @property
    def num_waiting(self) -> int:
        """Texts in the queue, those that are being read among them."""
        return len(self._room)

    @property
    def num_reading(self) -> int:
        """Texts that are being read."""
        return self._room.num_reserved

    async def generate(self, works: Sequence[Work], settings: Settings) -> list[Generated]:
        """Decode the texts of a request, in their order.

        Raises:
            RoomIsFull: the queue does not hold them.
            NoMoreWork: the server is shutting down.
            ValueError: the options do not fit the model, the texts, or each other.
            ModelFault: the model failed.
        """
        if self._is_closing:
            raise NoMoreWork
        self._room.reserve(len(works))
        job = _Job(self._loop.create_future(), len(works))
        self._unfinished.add(job)
        try:
            await self._read(job, works, settings)
            return await job.done
        finally:
            self._unfinished.discard(job)
            job.forget()
            self.counts["dropped"] += self._room.remove(job.texts)
            job.texts = ()

    async def close(self, grace_s: float) -> int:
        """Take no more work, and finish what was accepted.

        Returns:
            Requests that were given up since they were not done within `grace_s` seconds.
        """
        self._is_closing = True
        waiting = [job.done for job in self._unfinished]
        if waiting:
            await asyncio.wait(waiting, timeout=grace_s)
        given_up = [job for job in self._unfinished if not job.done.done()]
        for job in given_up:
            job.done.set_exception(NoMoreWork())
            job.forget()
        self._room.close()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        return len(given_up)

    async def _read(self, job: _Job, works: Sequence[Work], settings: Settings) -> None:
        """Make the texts of a job ready, and put them where the model finds them."""
        num_put = 0
        reading = asyncio.ensure_future(
            self._reader.call(partial(self._backend.prepare, works, settings))
        )
        try:
            await asyncio.wait({reading, job.done}, return_when=asyncio.FIRST_COMPLETED)
            if job.done.done():  # given up meanwhile
                return
            prepared = dict(enumerate(reading.result()))
            for index, each in prepared.items():
                if isinstance(each, Generated):
                    job.note(index, each)
            job.texts = [
                Waiting(prepared=each, owner=job, index=index, settings=settings)
                for index, each in prepared.items()
                if not isinstance(each, Generated)
            ]
            self._room.put(job.texts)
            num_put = len(job.texts)
        finally:
            reading.cancel()
            self._room.release(len(works) - num_put)

    # -- what the model's thread tells (see `runs.Listener`) ---------------------------------------

    def begun(self) -> None:
        """See `runs.Listener`."""
        self._tell(self._count, "batches")

    def joined(self) -> None:
        """See `runs.Listener`."""
        self._tell(self._count, "joined")

    def came(self, owner: _Job, index: int, outcome: Outcome) -> None:
        """See `runs.Listener`."""
        num_dropped = 0
        if isinstance(outcome, Exception):
            owner.forget()
            num_dropped = self._room.remove(owner.texts)
        self._tell(self._note, owner, index, outcome, num_dropped)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
            self._loop.call_soon_threadsafe(function, *arguments)

    def _count(self, name: str) -> None:
        self.counts[name] += 1

    def _note(self, job: _Job, index: int, outcome: Outcome, num_dropped: int) -> None:
        self.counts["dropped"] += num_dropped
        if isinstance(outcome, Generated):
            self.faults_in_a_row = 0
            self.counts["texts"] += 1
        elif not isinstance(outcome, ValueError):
            self.faults_in_a_row += 1
            self.counts["faults"] += 1
        job.note(index, outcome)


__all__ = ["Batcher", "NoMoreWork", "RoomIsFull"]
