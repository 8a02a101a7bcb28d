"""What the server does, apart from HTTP: load the model, answer calls, tell of itself, stop.

    loading -> ready <-> failing          any of them -> draining

Notable: the server listens before the model is loaded, so that `/health` can tell of it. `failing`
means that the model has failed on several requests in a row (a GPU that is lost, say): the server
still tries, and one success makes it `ready` again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from starlette.types import Receive

from s2s_ft.serve.backend import Backend, Generated, Settings, Work
from s2s_ft.serve.batcher import Batcher, NoMoreWork, RoomIsFull
from s2s_ft.serve.calls import answer_of, read_call, settings_of, works_of
from s2s_ft.serve.faults import ClientHasGone, HttpFault
from s2s_ft.serve.options import ServeOptions
from s2s_ft.serve.worker import Worker

Status = Literal["loading", "ready", "failing", "draining"]
Result = TypeVar("Result")

FAILING_AFTER = 3  # faults in a row


class Service:
    """One model and its queue.

    Attributes:
        counts: answers by status code, and `truncated` texts.
    """

    def __init__(self, load: Callable[[], Backend], options: ServeOptions) -> None:
        """Take what loads the model; it is called on the model's thread."""
        self._load = load
        self.options = options
        self._model_thread, self._reading_thread = Worker("model"), Worker("reading")
        self._backend: Backend | None = None
        self._batcher: Batcher | None = None
        self._is_draining = False
        self._started = time.monotonic()
        self.counts: Counter[str] = Counter()

    async def start(self) -> None:
        """Load the model, and begin to answer.

        Raises:
            Whatever loading raises.
        """
        backend = await self._model_thread.call(self._load)
        if self._is_draining:
            return
        self._batcher = Batcher(
            backend, self._model_thread, self._reading_thread, self.options.batching
        )
        self._batcher.start()
        self._backend = backend

    async def drain(self, grace_s: float) -> int:
        """Take no more calls and finish those that were accepted.

        Returns:
            How many were given up after `grace_s` seconds.
        """
        self._is_draining = True
        return 0 if self._batcher is None else await self._batcher.close(grace_s)

    def has_ended(self, timeout: float) -> bool:
        """Whether both threads end within `timeout` seconds each, once nothing is left to do."""
        threads = (self._reading_thread, self._model_thread)
        return all([thread.stop(timeout) for thread in threads])

    @property
    def status(self) -> Status:
        """What the server is doing."""
        if self._is_draining:
            return "draining"
        if self._batcher is None:
            return "loading"
        return "failing" if self._batcher.faults_in_a_row >= FAILING_AFTER else "ready"

    def health(self) -> dict[str, Any]:
        """What `GET /health` tells."""
        batcher, options = self._batcher, self.options
        name = options.model.model_path if self._backend is None else self._backend.name
        return {
            "status": self.status,
            "model": name,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "queue": {
                "texts": 0 if batcher is None else batcher.num_waiting,
                "limit": options.batching.max_queue,
            },
            "limits": {
                "max_texts": options.limits.max_texts,
                "max_source_chars": options.limits.max_source_chars,
                "max_beams": options.limits.max_beams,
                "max_output_tokens": options.limits.max_output_tokens,
                "max_request_bytes": options.limits.max_request_bytes,
                "request_timeout_s": options.limits.request_timeout_s,
            },
            "counts": {**self.counts, **({} if batcher is None else batcher.counts)},
        }

    async def answer(self, body: bytes, receive: Receive, *, deadline: float) -> dict[str, Any]:
        """Answer a call.

        Args:
            body: of the request.
            receive: tells when the client has gone.
            deadline: until when, in seconds of `time.monotonic`.

        Raises:
            HttpFault: what keeps it from being answered.
            ClientHasGone: there is nobody left to answer.
        """
        call = read_call(body, self.options.limits)
        batcher = self._ready_batcher()
        works, was_cut = works_of(call, self.options)
        begun = time.monotonic()
        work = self._decode(batcher, works, settings_of(call))
        results = await while_connected(work, receive, deadline - begun)
        answer = answer_of(results, was_cut, {"seconds": round(time.monotonic() - begun, 4)})
        self.counts["truncated"] += sum(answer["truncated"])
        return answer

    def _ready_batcher(self) -> Batcher:
        if self._is_draining:
            raise _shutting_down()
        if self._batcher is None:
            raise HttpFault(503, "loading", "the model is being loaded", retry=True)
        return self._batcher

    async def _decode(
        self, batcher: Batcher, works: list[Work], settings: Settings
    ) -> list[Generated]:
        """Decode, with every failure as an answer."""
        try:
            return await batcher.generate(works, settings)
        except RoomIsFull:
            limit = self.options.batching.max_queue
            message = f"the queue has no room for {len(works)} texts; it holds {limit}"
            raise HttpFault(503, "queue_full", message, retry=True) from None
        except NoMoreWork:
            raise _shutting_down() from None
        except ValueError as fault:
            raise HttpFault(422, "invalid_request", " ".join(str(fault).split())) from fault
        except Exception as fault:
            message = "the model failed on this request; the server's log tells why"
            raise HttpFault(500, "model_failed", message) from fault


def _shutting_down() -> HttpFault:
    return HttpFault(503, "shutting_down", "the server is shutting down", close=True, retry=True)


async def while_connected(work: Awaitable[Result], receive: Receive, timeout_s: float) -> Result:
    """The result of `work`, which is cancelled where nobody waits for it any more.

    Raises:
        HttpFault: 504 after `timeout_s` seconds.
        ClientHasGone: the connection was closed.
        Whatever the work raises.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait(
            {working, leaving}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if working.done():
            return working.result()
        if leaving.done():
            raise ClientHasGone
        raise HttpFault(504, "timeout", "there was no answer in time; the work was dropped")
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
