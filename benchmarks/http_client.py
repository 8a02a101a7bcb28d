"""A plain HTTP client on asyncio's streams: small enough to leave the cores to the server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from benchmarks.served import HOST, Reply

POST = "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def post(content: Any) -> bytes:
    """A request for outputs, head and body."""
    body = json.dumps(content).encode()
    return f"{POST}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Client:
    """One connection; it is opened when it is needed, and again when it was closed."""

    def __init__(self, port: int) -> None:
        """Take the server's port."""
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Reply:
        """One request and its answer.

        Raises:
            ConnectionError: the server closed before the answer was there.
        """
        reader, writer = await self.connect()
        writer.write(request)
        await writer.drain()
        reply = await read_reply(reader)
        if reply.headers.get("connection") == "close":
            self.close()
        return reply

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        return self._streams

    def close(self) -> None:
        """Close it, whatever is under way."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """The next answer on a connection.

    Raises:
        ConnectionError: there is none.
    """
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except asyncio.IncompleteReadError as fault:
        raise ConnectionError("closed before the answer was whole") from fault
    return Reply(int(first.split()[1]), headers, body)
