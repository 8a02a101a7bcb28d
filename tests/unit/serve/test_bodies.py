"""Reading bodies: whole, too large, too slow, broken off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from s2s_ft.serve import bodies
from s2s_ft.serve.faults import ClientHasGone, HttpFault


class Sender:
    """A client: what it sends part by part, and how much of it was taken."""

    def __init__(self, parts: Iterable[bytes], *, ends: str = "well") -> None:
        self._parts = iter(parts)
        self._ends = ends
        self.num_taken = 0

    async def receive(self) -> dict[str, Any]:
        part = next(self._parts, None)
        if part is not None:
            self.num_taken += len(part)
            return {"type": "http.request", "body": part, "more_body": True}
        if self._ends == "silent":
            await asyncio.Event().wait()
        if self._ends == "gone":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}


def read(sender: Sender, headers: dict[str, str] | None = None, timeout_s: float = 5.0) -> bytes:
    reading = bodies.read_body(headers or {}, sender.receive, max_bytes=100, timeout_s=timeout_s)
    return asyncio.run(reading)


def test_a_body_comes_whole_in_any_parts() -> None:
    assert read(Sender([b"ab", b"", b"c"])) == b"abc"
    assert read(Sender([])) == b""
    assert read(Sender([b"x" * 100])) == b"x" * 100


@pytest.mark.parametrize("headers", [{}, {"content-length": "1000"}])
def test_too_much_is_413_and_the_client_can_finish_sending(headers: dict[str, str]) -> None:
    sender = Sender([b"x" * 10] * 100)
    with pytest.raises(HttpFault) as caught:
        read(sender, headers)
    assert (caught.value.status, caught.value.close) == (413, True)
    assert sender.num_taken == 1000


def test_nothing_is_asked_of_a_client_that_waits_for_leave() -> None:
    sender = Sender([b"x" * 10] * 100)
    with pytest.raises(HttpFault):
        read(sender, {"content-length": "1000", "expect": "100-continue"})
    assert sender.num_taken == 0


def test_an_endless_body_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "DISCARD_BYTES", 5000)
    sender = Sender([b"x" * 1000] * 1000)
    with pytest.raises(HttpFault):
        read(sender)
    assert sender.num_taken <= 7000
    monkeypatch.setattr(bodies, "DISCARD_S", 0.01)
    with pytest.raises(HttpFault):
        read(Sender([b"x" * 1000], ends="silent"))


def test_a_body_that_does_not_come_is_408() -> None:
    with pytest.raises(HttpFault) as caught:
        read(Sender([b"x"], ends="silent"), timeout_s=0.01)
    assert (caught.value.status, caught.value.close) == (408, True)


def test_a_client_that_goes_is_noticed() -> None:
    with pytest.raises(ClientHasGone):
        read(Sender([b"x"], ends="gone"))
    with pytest.raises(ClientHasGone):
        read(Sender([b"x" * 200], ends="gone"))
