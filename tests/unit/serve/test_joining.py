"""Texts that come into a batch that is running: the model takes a step when it is let, so that the
order of events is known.
"""

from __future__ import annotations

import asyncio

import pytest

from s2s_ft.serve.batcher import Batcher
from tests.serve.fakes import Stepped
from tests.unit.serve.stories import BEAM, asked, play, settled, words


async def take_steps(backend: Stepped, count: int) -> None:
    """Until the model has taken so many steps more."""
    backend.step(count)
    for _ in range(count):
        await asyncio.to_thread(backend.stepped.acquire)


def test_a_short_text_that_comes_later_is_answered_first() -> None:
    backend = Stepped()

    async def story(batcher: Batcher) -> None:
        long = asked(batcher, "long:9")
        await take_steps(backend, 2)
        short = asked(batcher, "short:1")
        await settled(batcher, 1)
        await take_steps(backend, 2)
        assert words(await short) == ["SHORT:1"]
        assert not long.done()
        backend.step(5)
        assert words(await long) == ["LONG:9"]
        assert (batcher.counts["batches"], batcher.counts["joined"]) == (1, 1)

    play(story, backend)
    steps = ["step"] * 9
    assert backend.log == [
        *("+long", *steps[:3], "+short", "step", "-short"),
        *(*steps[4:], "-long"),
    ]


def test_places_are_taken_again_as_they_come_free() -> None:
    backend = Stepped()

    async def story(batcher: Batcher) -> None:
        first = asked(batcher, "a:1", "b:4")
        await take_steps(backend, 0)
        second = asked(batcher, "c:1", "d:1", "e:1")
        await settled(batcher, 3)
        backend.step(10)
        assert words(await first) == ["A:1", "B:4"]
        assert words(await second) == ["C:1", "D:1", "E:1"]

    play(story, backend, max_batch_size=2, batch_wait_ms=60_000.0)
    assert backend.log == [
        *("+a", "+b", "step", "-a"),
        *("+c", "step", "-c"),
        *("+d", "step", "-d"),
        *("+e", "step", "-b", "-e"),
    ]


def test_a_text_of_other_settings_is_next_and_lets_nobody_join_before_it() -> None:
    """However long the queue of texts that would fit the running batch."""
    backend = Stepped()

    async def story(batcher: Batcher) -> None:
        tasks = [asked(batcher, "a:3")]
        await take_steps(backend, 1)
        tasks.append(asked(batcher, "beam:2", settings=BEAM))
        await settled(batcher, 1)
        tasks += [asked(batcher, f"late{number}:1") for number in range(5)]
        await settled(batcher, 6)
        backend.step(100)
        await asyncio.gather(*tasks)
        assert batcher.counts["batches"] == 3

    play(story, backend)
    late = [f"late{number}" for number in range(5)]
    assert backend.log == [
        *("+a", "step", "step", "step", "-a"),
        *("+beam", "step", "step", "-beam"),
        *(f"+{name}" for name in late),
        "step",
        *(f"-{name}" for name in late),
    ]


def test_texts_that_were_there_before_those_of_other_settings_still_join() -> None:
    backend = Stepped()

    async def story(batcher: Batcher) -> None:
        tasks = [asked(batcher, "a:2")]
        await take_steps(backend, 1)
        tasks.append(asked(batcher, "b:1"))
        await settled(batcher, 1)
        tasks.append(asked(batcher, "beam:1", settings=BEAM))
        await settled(batcher, 2)
        backend.step(100)
        await asyncio.gather(*tasks)

    play(story, backend, max_batch_size=1)
    assert [entry for entry in backend.log if entry != "step"] == [
        *("+a", "-a", "+b", "-b", "+beam", "-beam")
    ]


@pytest.mark.parametrize("why", ["cancelled", "late"])
def test_who_is_gone_leaves_the_batch_and_the_place_is_free(why: str) -> None:
    backend = Stepped()

    async def story(batcher: Batcher) -> None:
        gone = asked(batcher, "gone:1000")
        await take_steps(backend, 1)
        next_one = asked(batcher, "next:1")
        await settled(batcher, 1)
        if why == "cancelled":
            gone.cancel()
        with pytest.raises((asyncio.CancelledError, asyncio.TimeoutError)):
            await asyncio.wait_for(gone, 0.01)
        await take_steps(backend, 2)  # the model was about to take one that nobody needs
        assert words(await next_one) == ["NEXT:1"]

    play(story, backend, max_batch_size=1)
    assert backend.log == ["+gone", "step", "step", "+next", "step", "-next"]


def test_what_cannot_be_is_said_while_the_model_is_busy() -> None:
    backend = Stepped()

    async def story(batcher: Batcher) -> None:
        long = asked(batcher, "long:3")
        await take_steps(backend, 1)
        with pytest.raises(ValueError, match="thirteen"):
            await asked(batcher, "a:1", settings=(("seed", 13),))
        assert not long.done()
        backend.step(2)
        await long

    play(story, backend)
    assert backend.log == ["+long", "step", "step", "step", "-long"]


def test_closing_answers_those_inside_and_those_that_wait() -> None:
    backend = Stepped()

    async def story(batcher: Batcher) -> None:
        tasks = [asked(batcher, "a:5")]
        await take_steps(backend, 1)
        tasks += [asked(batcher, "b:1"), asked(batcher, "beam:1", settings=BEAM)]
        await settled(batcher, 2)
        closing = asyncio.ensure_future(batcher.close(30))
        backend.step(100)
        assert await closing == 0
        assert [words(await task) for task in tasks] == [["A:5"], ["B:1"], ["BEAM:1"]]

    play(story, backend)
