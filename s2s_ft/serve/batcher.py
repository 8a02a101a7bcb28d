"""From requests to batches and back: texts of many requests share the model's batches.

Notable: everything here lives on the event loop, without locks; only `Backend.decode` runs on the
model's thread. To cancel `Batcher.generate`, because of a timeout or a client that has gone, drops
what has not begun. A batch that fails is tried again request by request, so that one text that the
model cannot take does not fail those that were decoded beside it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from s2s_ft.serve.backend import Backend, Generated, ModelFault, Settings, Work
from s2s_ft.serve.options import BatchingOptions
from s2s_ft.serve.waiting import RoomIsFull, Waiting, WaitingRoom
from s2s_ft.serve.worker import ModelThread

logger = logging.getLogger(__name__)


class NoMoreWork(Exception):  # noqa: N818 (a state, not a mistake)
    """The server is shutting down."""


@dataclass(eq=False)
class _Job:
    """One request: its texts, what has come of them, and who waits for it."""

    works: Sequence[Work]
    done: asyncio.Future[list[Generated]]
    results: dict[int, Generated] = field(default_factory=dict)
    texts: list[Waiting[_Job]] = field(default_factory=list)

    def note(self, index: int, result: Generated) -> None:
        """What came of a text; the last one completes the job."""
        self.results[index] = result
        if len(self.results) == len(self.works) and not self.done.done():
            self.done.set_result([self.results[number] for number in range(len(self.works))])


class Batcher:
    """Decodes texts of concurrent requests in common batches. Made and used on one event loop.

    Attributes:
        counts: what has happened so far: `batches`, `texts` (decoded), `dropped` (texts that left
            the queue undecoded), `faults` (batches that failed).
        faults_in_a_row: requests on which the model failed since it last succeeded.
    """

    def __init__(self, backend: Backend, thread: ModelThread, options: BatchingOptions) -> None:
        """Take the model; `start` begins to serve."""
        self._backend = backend
        self._thread = thread
        self._wait_s = options.batch_wait_ms / 1000
        self._room: WaitingRoom[_Job] = WaitingRoom(options.max_queue, options.max_batch_size)
        self._arrival = asyncio.Event()
        self._unfinished: set[_Job] = set()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None
        self.counts: Counter[str] = Counter()
        self.faults_in_a_row = 0

    def start(self) -> None:
        """Begin to decode what comes."""
        self._task = asyncio.get_running_loop().create_task(self._serve())

    @property
    def num_waiting(self) -> int:
        """Texts in the queue."""
        return len(self._room)

    async def generate(self, works: Sequence[Work], settings: Settings) -> list[Generated]:
        """Decode the texts of a request, in their order.

        Raises:
            RoomIsFull: the queue does not hold them.
            NoMoreWork: the server is shutting down.
            ValueError: the options do not fit the model, or each other.
            ModelFault: the model failed.
        """
        if self._is_closing:
            raise NoMoreWork
        loop = asyncio.get_running_loop()
        job = _Job(works, loop.create_future())
        now = loop.time()
        job.texts.extend(Waiting(job, index, settings, now) for index in range(len(works)))
        self._room.put(job.texts)
        self._unfinished.add(job)
        self._arrival.set()
        try:
            return await job.done
        finally:
            self._unfinished.discard(job)
            self.counts["dropped"] += self._room.remove(job.texts)
            job.texts.clear()

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
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        return len(given_up)

    async def _serve(self) -> None:
        while True:
            await self._wait_for_batch()
            await self._decode(self._room.take())

    async def _wait_for_batch(self) -> None:
        """Until a batch is full, or its oldest text has waited its time."""
        loop = asyncio.get_running_loop()
        while not self._room.has_full_batch():
            oldest = self._room.oldest()
            patience = None if oldest is None else oldest.arrived + self._wait_s - loop.time()
            if patience is not None and patience <= 0:
                return
            self._arrival.clear()
            waiter = asyncio.ensure_future(self._arrival.wait())
            try:
                await asyncio.wait({waiter}, timeout=patience)
            finally:
                waiter.cancel()

    async def _decode(self, batch: list[Waiting[_Job]]) -> None:
        """One batch through the model; its failure falls on whose texts cause it."""
        batch = [text for text in batch if not text.owner.done.done()]
        if not batch:
            return
        works = [text.owner.works[text.index] for text in batch]
        call = partial(self._backend.decode, works, dict(batch[0].settings))
        self.counts["batches"] += 1
        try:
            results = await self._thread.call(call)
            if len(results) != len(batch):
                raise ModelFault(f"{len(results)} results came of {len(batch)} texts")
        except Exception as fault:
            await self._bear(batch, fault)
            return
        self.faults_in_a_row = 0
        self.counts["texts"] += len(batch)
        for text, result in zip(batch, results, strict=True):
            text.owner.note(text.index, result)

    async def _bear(self, batch: list[Waiting[_Job]], fault: Exception) -> None:
        """A batch has failed: try its requests one by one, or tell the only one."""
        jobs = list(dict.fromkeys(text.owner for text in batch))
        if len(jobs) > 1:
            for job in jobs:
                await self._decode([text for text in batch if text.owner is job])
            return
        (job,) = jobs
        is_ours = not isinstance(fault, ValueError)
        self.counts["faults"] += is_ours
        self.faults_in_a_row += is_ours
        self.counts["dropped"] += self._room.remove(job.texts)
        if not job.done.done():
            job.done.set_exception(fault)


__all__ = ["Batcher", "NoMoreWork", "RoomIsFull"]
