"""The batcher over a model that answers when it is let: batches, order, timeouts, failures.

`test_joining.py` has what comes into a batch that is running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from s2s_ft.serve.backend import Generated, ModelFault, Outcome, Settings, Task, Work
from s2s_ft.serve.batcher import Batcher, NoMoreWork, RoomIsFull
from tests.serve.fakes import Fake, Gated, Loud, loud
from tests.unit.serve.stories import BEAM, GREEDY, asked, play, settled, words


async def came(backend: Gated) -> None:
    """Until the model has got a further batch."""
    await asyncio.to_thread(backend.came.acquire)


def test_what_comes_while_the_model_is_busy_is_decoded_together() -> None:
    backend = Gated()

    async def story(batcher: Batcher) -> None:
        first = asked(batcher, "a")
        await came(backend)
        others = [asked(batcher, name) for name in "bcd"]
        await settled(batcher, 3)
        backend.open(2)
        assert words(await first) == ["A"]
        assert [words(await other) for other in others] == [["B"], ["C"], ["D"]]
        assert batcher.counts == {"batches": 1, "joined": 3, "texts": 4, "dropped": 0}

    play(story, backend)
    assert backend.texts == [["a"], ["b", "c", "d"]]


def test_texts_wait_for_others_a_moment() -> None:
    backend = Gated()

    async def story(batcher: Batcher) -> None:
        tasks = [asked(batcher, "a")]
        for name in "bc":
            await asyncio.sleep(0.001)
            tasks.append(asked(batcher, name))
        backend.open()
        await asyncio.gather(*tasks)

    play(story, backend, batch_wait_ms=2000.0, max_batch_size=3)  # full before the time is over
    assert backend.texts == [["a", "b", "c"]]


def test_a_large_request_is_cut_and_comes_back_in_order() -> None:
    backend = Gated()
    names = [f"text {number}" for number in range(10)]

    async def story(batcher: Batcher) -> list[str]:
        backend.open(4)
        return words(await asked(batcher, *names))

    assert play(story, backend, max_batch_size=3) == [name.upper() for name in names]
    assert [len(batch) for batch in backend.texts] == [3, 3, 3, 1]


def test_settings_are_never_mixed_and_none_of_them_starves() -> None:
    """A text of rare settings among a stream of others is next once it is the oldest."""
    backend = Gated()

    async def story(batcher: Batcher) -> None:
        tasks = [asked(batcher, "a0")]
        await came(backend)
        tasks += [asked(batcher, "a1"), asked(batcher, "a2")]
        tasks.append(asked(batcher, "rare", settings=BEAM))
        for number in range(3, 9):  # the stream goes on while the model works
            tasks.append(asked(batcher, f"a{number}"))
            await settled(batcher, number + 1 - 2 * max(0, len(backend.batches) - 1))
        backend.open(100)
        await asyncio.gather(*tasks)

    play(story, backend, max_batch_size=2)
    assert backend.texts[:3] == [["a0"], ["a1", "a2"], ["rare"]]
    assert [options for _, options in backend.batches[:3]] == [{}, {}, {"num_beams": 5}]


def test_a_full_queue_refuses_and_recovers() -> None:
    backend = Gated()

    async def story(batcher: Batcher) -> None:
        running = asked(batcher, "a")
        await came(backend)
        waiting = asked(batcher, "b", "c")
        await settled(batcher, 2)
        with pytest.raises(RoomIsFull):
            await asked(batcher, "d")
        backend.open(2)
        await asyncio.gather(running, waiting)
        backend.open()
        assert words(await asked(batcher, "e")) == ["E"]

    play(story, backend, max_queue=2)


def test_a_cancelled_request_leaves_the_queue() -> None:
    backend = Gated()

    async def story(batcher: Batcher) -> None:
        running = asked(batcher, "a")
        await came(backend)
        gone, stays = asked(batcher, "gone", "gone too"), asked(batcher, "stays")
        await settled(batcher, 3)
        gone.cancel()
        await settled(batcher, 1)
        backend.open(2)
        await asyncio.gather(running, stays)
        assert batcher.counts["dropped"] == 2

    play(story, backend)
    assert backend.texts == [["a"], ["stays"]]


def test_a_request_cancelled_in_the_model_disturbs_nobody() -> None:
    backend = Gated()

    async def story(batcher: Batcher) -> None:
        first = asked(batcher, "a")
        await came(backend)
        first.cancel()
        second = asked(batcher, "b")
        backend.open(2)
        assert words(await second) == ["B"]

    play(story, backend)


def test_a_timeout_is_a_cancellation() -> None:
    backend = Gated()

    async def story(batcher: Batcher) -> None:
        running = asked(batcher, "a")
        await came(backend)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asked(batcher, "late"), 0.01)
        assert batcher.num_waiting == 0
        backend.open()
        await running

    play(story, backend)
    assert backend.texts == [["a"]]


def test_a_failing_text_fails_its_own_request_only() -> None:
    backend = Gated()

    async def story(batcher: Batcher) -> None:
        running = asked(batcher, "a")
        await came(backend)
        good, bad, also_good = asked(batcher, "b"), asked(batcher, "x", "bad"), asked(batcher, "c")
        await settled(batcher, 4)
        backend.open(100)
        assert words(await good) == ["B"]
        assert words(await also_good) == ["C"]
        with pytest.raises(ModelFault, match="bad"):
            await bad
        assert batcher.counts["faults"] == 1
        assert words(await running) == ["A"]

    play(story, backend)
    assert backend.texts == [["a"], ["b", "x", "bad", "c"], ["b"], ["x", "bad"], ["c"]]


def test_what_is_left_of_a_failed_request_is_not_tried() -> None:
    backend = Gated()

    async def story(batcher: Batcher) -> None:
        backend.open(100)
        with pytest.raises(ModelFault):
            await asked(batcher, "bad", "b", "c", "d")
        assert batcher.num_waiting == 0
        assert words(await asked(batcher, "e")) == ["E"]

    play(story, backend, max_batch_size=1)
    assert backend.texts == [["bad"], ["e"]]


def test_faults_in_a_row_are_counted_but_not_the_clients() -> None:
    async def story(batcher: Batcher) -> None:
        for _ in range(3):
            with pytest.raises(ModelFault):
                await asked(batcher, "fail:no")
        with pytest.raises(ValueError, match="thirteen"):
            await asked(batcher, "a", settings=(("seed", 13),))
        assert (batcher.faults_in_a_row, batcher.num_waiting) == (3, 0)
        await asked(batcher, "a")
        assert (batcher.faults_in_a_row, batcher.counts["faults"]) == (0, 3)

    play(story, Loud())


def test_texts_that_never_come_back_are_a_fault_of_the_model() -> None:
    class Forgetful(Fake):
        def decode(
            self, tasks: Iterable[Task | None], settings: Settings, size: int
        ) -> Iterator[tuple[Task, Outcome]]:
            for task in tasks:
                assert task is not None
                yield task, loud(task)
                return

    async def story(batcher: Batcher) -> None:
        with pytest.raises(ModelFault, match="nothing came of 1 texts"):
            await asked(batcher, "a", "b")

    play(story, Forgetful())


def test_what_need_not_be_decoded_never_meets_the_model() -> None:
    class Knowing(Gated):
        def prepare(self, works: Sequence[Work], settings: Settings) -> list[Any]:
            return [work if work.text else Generated(()) for work in works]

    backend = Knowing()

    async def story(batcher: Batcher) -> None:
        assert await asked(batcher, "", "") == [Generated(()), Generated(())]
        backend.open()
        some = await asked(batcher, "", "a", "")
        assert [len(result.outputs) for result in some] == [0, 1, 0]
        assert batcher.num_waiting == 0

    play(story, backend, max_queue=3)
    assert backend.texts == [["a"]]


def test_closing_finishes_what_was_accepted() -> None:
    backend = Gated()

    async def story(batcher: Batcher) -> None:
        tasks = [asked(batcher, "a"), asked(batcher, "b", settings=BEAM)]
        await came(backend)
        closing = asyncio.ensure_future(batcher.close(30))
        await asyncio.sleep(0)
        with pytest.raises(NoMoreWork):
            await asked(batcher, "late")
        backend.open(2)
        assert await closing == 0
        assert [words(await task) for task in tasks] == [["A"], ["B"]]

    play(story, backend)


def test_closing_gives_up_after_its_grace() -> None:
    backend = Gated()

    async def story(batcher: Batcher) -> None:
        tasks = [asked(batcher, "a"), asked(batcher, "b", settings=BEAM)]
        await came(backend)
        assert await batcher.close(0.01) == 2
        for task in tasks:
            with pytest.raises(NoMoreWork):
                await task

    play(story, backend)


@pytest.mark.parametrize("max_batch_size", [1, 3, 32])
def test_a_hundred_requests_each_get_their_own(max_batch_size: int) -> None:
    async def story(batcher: Batcher) -> None:
        settings: list[Settings] = [GREEDY, BEAM, (("top_k", 3),)]
        tasks = [
            asked(
                batcher,
                *[f"{number}-{part}" for part in range(number % 4 + 1)],
                settings=settings[number % 3],
            )
            for number in range(100)
        ]
        for number, task in enumerate(tasks):
            expected = [f"{number}-{part}" for part in range(number % 4 + 1)]
            assert words(await task) == expected

    play(story, Loud(), max_batch_size=max_batch_size)
