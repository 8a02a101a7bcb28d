"""Clients that one does not wish for, each with what a server should do about it.

Notable: each function plays one client once and says what came of it: a status, `closed`, or `left`
where the client itself went away. `EXPECTED` says what is right. They only ever talk to this
machine.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.http_client import POST, Client, post, read_reply

HANG_S = 30.0  # after which a client says that it was left hanging
SLOW_S = 0.2  # between two bytes of a slow client


async def malformed(port: int) -> str:
    """A body that is no JSON."""
    body = b'{"text": "a", '
    return await _status(port, f"{POST}Content-Length: {len(body)}\r\n\r\n".encode() + body)


async def mistyped(port: int) -> str:
    """Options of wrong types."""
    return await _status(port, post({"text": ["a", 5], "num_beams": "many"}))


async def greedy(port: int) -> str:
    """More beams than anybody may have."""
    return await _status(port, post({"text": "a", "num_beams": 100_000}))


async def oversized(port: int) -> str:
    """Eight megabytes, announced."""
    return await _status(port, post({"text": "x" * 2**23}))


async def oversized_chunks(port: int) -> str:
    """Eight megabytes in chunks, never announced."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    return await _status(
        port, f"{POST}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 128 + b"0\r\n\r\n"
    )


async def not_http(port: int) -> str:
    """Bytes that are no HTTP."""
    return await _status(port, b"\x16\x03\x01 hello\r\n\r\n")


async def slow_head(port: int) -> str:
    """Headers that come byte by byte."""
    return await _trickle(port, POST.encode(), b"X-Header: 1\r\n" * 1000)


async def slow_body(port: int) -> str:
    """A body that comes byte by byte."""
    return await _trickle(port, f"{POST}Content-Length: 5000\r\n\r\n".encode(), b"x" * 5000)


async def silent(port: int) -> str:
    """A connection on which nothing is said."""
    return await _trickle(port, b"", b"")


async def leaving(port: int) -> str:
    """A good request whose sender does not wait for the answer."""
    client = Client(port)
    _, writer = await client.connect()
    writer.write(post({"text": "a text that nobody waits for " * 20, "num_beams": 4}))
    await writer.drain()
    await asyncio.sleep(0.02)
    client.close()
    return "left"


EXPECTED: dict[Callable[[int], Awaitable[str]], str] = {
    malformed: "400",
    mistyped: "422",
    greedy: "422",
    oversized: "413",
    oversized_chunks: "413",
    not_http: "400",
    slow_head: "closed",
    slow_body: "408",
    silent: "closed",
    leaving: "left",
}


@dataclass
class Attack:
    """Every kind of such clients, again and again, until it is told to stop.

    Attributes:
        counts: how often each kind was played.
        surprises: what came of a client where something else should have, as `kind: outcome`.
    """

    port: int
    counts: Counter[str] = field(default_factory=Counter)
    surprises: Counter[str] = field(default_factory=Counter)

    async def run(self, stop: asyncio.Event) -> None:
        """Play on until `stop`, then let every client come to its end."""
        await asyncio.gather(*(self._repeat(play, stop) for play in EXPECTED))

    async def _repeat(self, play: Callable[[int], Awaitable[str]], stop: asyncio.Event) -> None:
        name = play.__name__
        while not stop.is_set():
            try:
                outcome = await asyncio.wait_for(play(self.port), HANG_S)
            except asyncio.TimeoutError:
                outcome = "hung"
            except OSError as fault:
                outcome = type(fault).__name__
            self.counts[name] += 1
            if outcome != EXPECTED[play]:
                self.surprises[f"{name}: {outcome}"] += 1
            await asyncio.sleep(0.05)


async def _status(port: int, request: bytes) -> str:
    client = Client(port)
    try:
        reply = await client.ask(request)
        json.loads(reply.body)  # every answer is JSON
        return str(reply.status)
    finally:
        client.close()


async def _trickle(port: int, head: bytes, rest: bytes) -> str:
    """Send `head`, then `rest` byte by byte, until something comes back or the server closes."""
    client = Client(port)
    reader, writer = await client.connect()
    answer = asyncio.ensure_future(read_reply(reader))
    try:
        writer.write(head)
        for byte in rest:
            writer.write(bytes([byte]))
            await asyncio.wait({answer}, timeout=SLOW_S)
            if answer.done():
                break
        return str((await answer).status)
    except ConnectionError:
        return "closed"
    finally:
        answer.cancel()
        client.close()
