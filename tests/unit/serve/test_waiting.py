"""The waiting room: bounded, in order of arrival, one settings a batch."""

from __future__ import annotations

import random
import threading

import pytest

from s2s_ft.serve.backend import Settings
from s2s_ft.serve.waiting import RoomIsFull, Waiting, WaitingRoom

A: Settings = (("num_beams", 1),)
B: Settings = (("num_beams", 5),)


def texts(owner: str, settings: Settings = A, count: int = 1) -> list[Waiting[str]]:
    return [
        Waiting(prepared=None, owner=owner, index=index, settings=settings)
        for index in range(count)
    ]


def owners(batch: list[Waiting[str]]) -> list[str]:
    return [text.owner for text in batch]


def put(room: WaitingRoom[str], batch: list[Waiting[str]]) -> None:
    room.reserve(len(batch))
    room.put(batch)


def test_the_oldest_goes_first_and_its_like_ride_along() -> None:
    room: WaitingRoom[str] = WaitingRoom(limit=10, max_batch_size=2)
    for owner, settings in (("a1", A), ("b2", B), ("a3", A), ("a4", A), ("b5", B)):
        put(room, texts(owner, settings))
    batches = [owners(room.wait_for_batch(0.0)) for _ in range(3)]
    assert batches == [["a1", "a3"], ["b2", "b5"], ["a4"]]
    assert len(room) == 0


def test_only_the_oldest_text_may_join_a_batch_and_only_one_of_its_settings() -> None:
    room: WaitingRoom[str] = WaitingRoom(limit=10, max_batch_size=2)
    for owner, settings in (("a1", A), ("b2", B), ("a3", A)):
        put(room, texts(owner, settings))
    first = room.join(A)
    assert first is not None
    assert first.owner == "a1"
    assert room.join(A) is None  # b2 was there before a3
    assert owners(room.wait_for_batch(0.0)) == ["b2"]
    assert room.join(B) is None
    last = room.join(A)
    assert last is not None
    assert last.owner == "a3"
    assert room.join(A) is None


def test_all_texts_of_a_request_come_in_or_none() -> None:
    room: WaitingRoom[str] = WaitingRoom(limit=3, max_batch_size=8)
    put(room, texts("a", count=2))
    with pytest.raises(RoomIsFull):
        room.reserve(2)
    assert len(room) == 2
    put(room, texts("c"))
    assert owners(room.wait_for_batch(0.0)) == ["a", "a", "c"]


def test_reserved_places_count_until_they_are_given_back() -> None:
    room: WaitingRoom[str] = WaitingRoom(limit=3, max_batch_size=8)
    room.reserve(3)
    with pytest.raises(RoomIsFull):
        room.reserve(1)
    room.put(texts("a"))
    room.release(2)
    assert (len(room), room.num_reserved) == (1, 0)
    room.reserve(2)


def test_who_leaves_makes_room_at_once() -> None:
    room: WaitingRoom[str] = WaitingRoom(limit=2, max_batch_size=8)
    gone = texts("gone", B, count=2)
    put(room, gone)
    assert room.remove(gone) == 2
    assert room.remove(gone) == 0
    put(room, texts("here", count=2))
    assert owners(room.wait_for_batch(0.0)) == ["here", "here"]


def test_a_full_batch_does_not_wait_and_only_that_of_the_oldest_counts() -> None:
    room: WaitingRoom[str] = WaitingRoom(limit=10, max_batch_size=2)
    put(room, texts("a", A, count=2))
    put(room, texts("b", B))
    assert owners(room.wait_for_batch(3600.0)) == ["a", "a"]
    found: list[list[Waiting[str]]] = []
    waiting = threading.Thread(target=lambda: found.append(room.wait_for_batch(3600.0)))
    waiting.start()
    put(room, texts("c", A, count=2))
    assert not found  # c's batch is full, but b is older
    put(room, texts("d", B))
    waiting.join(30)
    assert owners(found[0]) == ["b", "d"]


def test_a_closed_room_gives_nothing_and_tells_whoever_waits() -> None:
    room: WaitingRoom[str] = WaitingRoom(limit=10, max_batch_size=2)
    found: list[list[Waiting[str]]] = []
    waiting = threading.Thread(target=lambda: found.append(room.wait_for_batch(0.0)))
    waiting.start()
    room.close()
    waiting.join(30)
    assert found == [[]]
    put(room, texts("a"))
    assert room.join(A) is None
    assert room.wait_for_batch(0.0) == []


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_overtaken_but_by_those_who_ride_along(seed: int) -> None:
    """Whatever comes and goes: each batch holds the oldest text of all, equal settings in order of
    arrival, and as many of them as fit; and nobody joins one who was not the oldest of all."""
    chance = random.Random(seed)
    room: WaitingRoom[str] = WaitingRoom(limit=12, max_batch_size=3)
    waiting: list[Waiting[str]] = []
    for number in range(300):
        step = chance.random()
        if step < 0.5:
            new = texts(str(number), chance.choice((A, B, ())), chance.randint(1, 4))
            if len(waiting) + len(new) <= 12:
                put(room, new)
                waiting += new
            else:
                with pytest.raises(RoomIsFull):
                    put(room, new)
        elif step < 0.6 and waiting:
            gone = chance.sample(waiting, chance.randint(1, len(waiting)))
            assert room.remove(gone) == len(gone)
            waiting = [text for text in waiting if text not in gone]
        elif step < 0.8:
            settings = chance.choice((A, B, ()))
            may_join = bool(waiting) and waiting[0].settings == settings
            assert room.join(settings) is (waiting.pop(0) if may_join else None)
        elif waiting:
            expected = [text for text in waiting if text.settings == waiting[0].settings][:3]
            assert room.wait_for_batch(0.0) == expected
            waiting = [text for text in waiting if text not in expected]
        assert len(room) == len(waiting)
