"""Reading a request's body, within bounds of size and time.

Notable: a body is refused as soon as it is known to be too large: by its Content-Length, or, where
it comes in chunks without one, at the byte that is too many; no more than the limit is ever held.
What a client still sends of it is thrown away for a moment, since a client that is cut off in the
middle of sending would not see the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import Receive

from s2s_ft.serve.faults import ClientHasGone, HttpFault

DISCARD_S = 1.0
DISCARD_BYTES = 64 * 2**20


async def read_body(
    headers: Mapping[str, str], receive: Receive, *, max_bytes: int, timeout_s: float
) -> bytes:
    """The whole body.

    Raises:
        HttpFault: 413 or 408.
        ClientHasGone: the connection was closed before the end.
    """
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        if headers.get("expect", "").lower() != "100-continue":  # else nothing is on its way
            await _discard(receive)
        raise _too_large(max_bytes)
    try:
        return await asyncio.wait_for(_collect(receive, max_bytes), timeout_s)
    except asyncio.TimeoutError:  # in Python 3.10 not yet the TimeoutError of everywhere
        message = f"the body did not arrive within {timeout_s:g} s"
        raise HttpFault(408, "request_too_slow", message, close=True) from None


async def _collect(receive: Receive, max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        part, is_last = await _part(receive)
        if len(body) + len(part) > max_bytes:
            body.clear()
            if not is_last:
                await _discard(receive)
            raise _too_large(max_bytes)
        body += part
        if is_last:
            return bytes(body)


async def _discard(receive: Receive) -> None:
    """Take in what a client sends and forget it, until it ends or has been long enough."""

    async def discard() -> None:
        size, is_last = 0, False
        while not is_last and size < DISCARD_BYTES:
            part, is_last = await _part(receive)
            size += len(part)

    try:
        await asyncio.wait_for(discard(), DISCARD_S)
    except asyncio.TimeoutError:
        return


async def _part(receive: Receive) -> tuple[bytes, bool]:
    """The next part of a body, and whether it is the last."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientHasGone
    return message.get("body", b""), not message.get("more_body", False)


def _too_large(max_bytes: int) -> HttpFault:
    return HttpFault(
        413, "request_too_large", f"the body is more than {max_bytes} bytes", close=True
    )
