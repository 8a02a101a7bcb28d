"""The waiting room: bounded, in order of arrival, one settings a batch."""

from __future__ import annotations

import random

import pytest

from s2s_ft.serve.backend import Settings
from s2s_ft.serve.waiting import RoomIsFull, Waiting, WaitingRoom

A: Settings = (("num_beams", 1),)
B: Settings = (("num_beams", 5),)


def texts(owner: str, settings: Settings = A, count: int = 1) -> list[Waiting[str]]:
    return [Waiting(owner, index, settings, 0.0) for index in range(count)]


def owners(batch: list[Waiting[str]]) -> list[str]:
    return [text.owner for text in batch]


def test_the_oldest_goes_first_and_its_like_ride_along() -> None:
    room: WaitingRoom[str] = WaitingRoom(limit=10, max_batch_size=2)
    for owner, settings in (("a1", A), ("b2", B), ("a3", A), ("a4", A), ("b5", B)):
        room.put(texts(owner, settings))
    assert [owners(room.take()) for _ in range(4)] == [["a1", "a3"], ["b2", "b5"], ["a4"], []]
    assert (len(room), room.oldest()) == (0, None)


def test_all_texts_of_a_request_come_in_or_none() -> None:
    room: WaitingRoom[str] = WaitingRoom(limit=3, max_batch_size=8)
    room.put(texts("a", count=2))
    with pytest.raises(RoomIsFull):
        room.put(texts("b", count=2))
    assert len(room) == 2
    room.put(texts("c"))
    assert owners(room.take()) == ["a", "a", "c"]


def test_who_leaves_makes_room_at_once() -> None:
    room: WaitingRoom[str] = WaitingRoom(limit=2, max_batch_size=8)
    gone = texts("gone", B, count=2)
    room.put(gone)
    assert room.remove(gone) == 2
    assert room.remove(gone) == 0
    room.put(texts("here", count=2))
    assert owners(room.take()) == ["here", "here"]


def test_a_batch_is_full_only_if_the_oldest_texts_batch_is() -> None:
    room: WaitingRoom[str] = WaitingRoom(limit=10, max_batch_size=2)
    assert not room.has_full_batch()
    room.put(texts("a", A))
    room.put(texts("b", B, count=3))
    assert not room.has_full_batch()
    room.take()
    assert room.has_full_batch()


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_overtaken_but_by_those_who_ride_along(seed: int) -> None:
    """Whatever comes and goes: each batch holds the oldest text of all, equal settings in order of
    arrival, and as many of them as fit."""
    chance = random.Random(seed)
    room: WaitingRoom[str] = WaitingRoom(limit=12, max_batch_size=3)
    waiting: list[Waiting[str]] = []
    for number in range(300):
        step = chance.random()
        if step < 0.5:
            new = texts(str(number), chance.choice((A, B, ())), chance.randint(1, 4))
            if len(waiting) + len(new) <= 12:
                room.put(new)
                waiting += new
            else:
                with pytest.raises(RoomIsFull):
                    room.put(new)
        elif step < 0.6 and waiting:
            gone = chance.sample(waiting, chance.randint(1, len(waiting)))
            assert room.remove(gone) == len(gone)
            waiting = [text for text in waiting if text not in gone]
        else:
            expected = [text for text in waiting if text.settings == waiting[0].settings][:3]
            assert room.oldest() is (waiting[0] if waiting else None)
            assert room.take() == expected
            waiting = [text for text in waiting if text not in expected]
        assert len(room) == len(waiting)
