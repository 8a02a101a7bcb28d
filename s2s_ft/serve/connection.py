"""A connection that is patient, but not for ever: uvicorn's HTTP protocol with bounds of its own.

uvicorn waits for a request's headers, for an answer to be taken up and for the rest of a request
that has been answered as long as a client likes, and takes in any number of connections. Here each
of these has an end, so that clients who do nothing, or little, cost a place only for a while.

    opened -> headers due within --read_timeout_s -> answered -> idle up to --keep_alive_s
                                                         \\-> taken up within --write_timeout_s
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from s2s_ft.serve.options import ServerOptions

LOOK_S = 0.5  # between two looks at a connection


def connection_class(options: ServerOptions) -> type[H11Protocol]:
    """The protocol of a server with these options."""
    return type("BoundedConnection", (_Connection,), {"options": options})


class _Connection(H11Protocol):
    """One connection; a look every moment ends those that have had their time."""

    options: ClassVar[ServerOptions]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look: asyncio.TimerHandle | None = None
        self._headers_due: float | None = self.loop.time() + self.options.read_timeout_s
        self._answer_due: float | None = None
        if len(self.connections) > self.options.max_connections:
            self._refuse(503, "too_many_connections", "too many connections; come again later")
            return
        self._look_again()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if not self._owes_headers():
            self._headers_due = None
        elif self._headers_due is None:
            self._headers_due = self.loop.time() + self.options.read_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look is not None:
            self._look.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP; where an answer is under way already, only hang up."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.transport.close()
            return
        self._refuse(400, "invalid_http", "this is not an HTTP request")

    def _owes_headers(self) -> bool:
        return self.conn.their_state is h11.IDLE

    def _look_again(self) -> None:
        self._look = self.loop.call_later(LOOK_S, self._check)

    def _check(self) -> None:
        """End the connection if it is overdue."""
        now = self.loop.time()
        if self.transport.get_write_buffer_size() == 0:
            self._answer_due = None
        elif self._answer_due is None:
            self._answer_due = now + self.options.write_timeout_s
        elif now > self._answer_due:
            self.transport.abort()
        if self._headers_due is not None and now > self._headers_due:
            self.transport.close()
        # What comes of a request after its answer is thrown away by uvicorn, however much it is.
        if self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        self._look_again()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer without the application, and close."""
        told = {"error": {"code": code, "message": message, "request_id": None}}
        body = json.dumps(told).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n"
        )
        retry = "retry-after: 1\r\n" if status == 503 else ""
        self.transport.write(f"{head}{retry}\r\n".encode() + body)
        self.transport.close()
        self._look_again()
