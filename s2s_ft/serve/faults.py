"""What a request can be refused or fail with: one JSON object each, with a code for programs and
one sentence for people.

    {"error": {"code": "queue_full", "message": "…", "request_id": "…"}}
"""

from __future__ import annotations

from typing import Any

RETRY_AFTER_S = 1


class HttpFault(Exception):  # noqa: N818 (a fault tells whose it is)
    """An answer other than success.

    Attributes:
        status: of HTTP.
        code: for programs.
        message: for people, one sentence.
        close: whether the connection cannot be used again, since part of the request is unread.
        retry: whether the same request may succeed later.
    """

    def __init__(
        self, status: int, code: str, message: str, *, close: bool = False, retry: bool = False
    ) -> None:
        """Take all of it."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.close = close
        self.retry = retry

    @property
    def headers(self) -> dict[str, str]:
        """What the answer's headers add."""
        headers = {"Connection": "close"} if self.close else {}
        return {**headers, "Retry-After": str(RETRY_AFTER_S)} if self.retry else headers

    def as_json(self, request_id: str) -> dict[str, Any]:
        """The answer's body."""
        return {"error": {"code": self.code, "message": self.message, "request_id": request_id}}


class ClientHasGone(Exception):  # noqa: N818 (a state, not a mistake)
    """The connection was closed before the answer: there is nobody to tell."""
