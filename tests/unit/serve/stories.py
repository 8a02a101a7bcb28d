"""A batcher that runs while a story is played with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from s2s_ft.serve.backend import Backend, Generated, Settings, Work
from s2s_ft.serve.batcher import Batcher
from s2s_ft.serve.options import BatchingOptions
from s2s_ft.serve.worker import Worker
from tests.serve.fakes import Gated, Stepped

GREEDY: Settings = ()
BEAM: Settings = (("num_beams", 5),)
Story = Callable[[Batcher], Awaitable[Any]]


def play(story: Story, backend: Backend, **options: Any) -> Any:
    """What a story with a running batcher returns."""

    async def all_of_it() -> Any:
        model, reader = Worker("model"), Worker("reading")
        options.setdefault("batch_wait_ms", 0.0)
        batcher = Batcher(backend, model, reader, BatchingOptions(**options))
        batcher.start()
        try:
            return await asyncio.wait_for(story(batcher), 30)
        finally:
            await batcher.close(0)
            if isinstance(backend, Gated):
                backend.open(1000)
            if isinstance(backend, Stepped):
                backend.step(1000)
            assert reader.stop(10)
            assert model.stop(10)

    return asyncio.run(all_of_it())


def asked(batcher: Batcher, *texts: str, settings: Settings = GREEDY) -> asyncio.Task[Any]:
    """A request under way."""
    works = [Work(text, key) for key, text in enumerate(texts)]
    return asyncio.ensure_future(batcher.generate(works, settings))


async def settled(batcher: Batcher, count: int) -> None:
    """Until `count` texts wait, ready to be taken."""
    while batcher.num_waiting != count or batcher.num_reading:
        await asyncio.sleep(0)


def words(results: list[Generated]) -> list[str]:
    return [result.outputs[0].text for result in results]
