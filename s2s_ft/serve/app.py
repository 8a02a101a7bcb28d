"""The routes: `POST /generate`, `GET /health`, the page at `/`, and `GET /openapi.json`.

Notable: every answer carries an `X-Request-Id`, every fault is a JSON object (see `faults.py`), and
an exception nobody foresaw is one, too: a 500 whose id stands in the log beside the traceback.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from s2s_ft import __version__
from s2s_ft.serve.bodies import read_body
from s2s_ft.serve.calls import GenerateCall
from s2s_ft.serve.faults import ClientHasGone, HttpFault
from s2s_ft.serve.page import page, page_headers
from s2s_ft.serve.service import Service

logger = logging.getLogger(__name__)

REQUEST_ID = "s2s_ft.request_id"  # its key in an ASGI scope
JSON_TYPE = "application/json"
GONE = 499  # what proxies log where a client did not wait; it is never sent


def build_app(service: Service) -> ASGIApp:
    """The ASGI application."""
    app = FastAPI(title="s2s-ft", version=__version__, docs_url=None, redoc_url=None)
    app.add_exception_handler(HttpFault, _fault)
    app.add_exception_handler(HTTPException, _refusal)
    app.add_exception_handler(ClientHasGone, _farewell)
    app.add_exception_handler(Exception, _unforeseen)
    _add_generate(app, service)
    _add_views(app, service)
    return RequestLog(app, service)


def _add_generate(app: FastAPI, service: Service) -> None:
    limits = service.options.limits
    schema = {JSON_TYPE: {"schema": GenerateCall.model_json_schema()}}

    @app.post("/generate", openapi_extra={"requestBody": {"content": schema, "required": True}})
    async def generate(request: Request) -> Response:
        """Generate outputs for one text or several."""
        deadline = time.monotonic() + limits.request_timeout_s
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != JSON_TYPE:
            message = f"the Content-Type must be {JSON_TYPE}"
            raise HttpFault(415, "unsupported_type", message, close=True)
        body = await read_body(
            request.headers,
            request.receive,
            max_bytes=limits.max_request_bytes,
            timeout_s=service.options.server.read_timeout_s,
        )
        answer = await service.answer(body, request.receive, deadline=deadline)
        return as_json(200, {**answer, "request_id": request.scope[REQUEST_ID]})


def _add_views(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    @app.head("/health", include_in_schema=False)  # one operation of the schema has one method
    async def health() -> Response:
        """What the server is doing: 200 where it can answer, else 503."""
        told = service.health()
        return as_json(200 if told["status"] == "ready" else 503, told)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def try_it() -> Response:
        """A page to try the model."""
        return Response(page(), media_type="text/html", headers=page_headers())


def as_json(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON; text is sent as it is, not as escapes."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(body.encode("utf-8"), status, media_type=JSON_TYPE, headers=headers)


async def _fault(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HttpFault)
    request_id = request.scope[REQUEST_ID]
    if fault.status == 500:
        logger.error("request %s: %s", request_id, fault.message, exc_info=fault.__cause__)
    return as_json(fault.status, fault.as_json(request_id), fault.headers)


async def _farewell(request: Request, fault: Exception) -> Response:
    return Response(status_code=GONE)


async def _unforeseen(request: Request, fault: Exception) -> Response:
    told = HttpFault(500, "internal_error", "the server failed; its log tells why")
    return as_json(500, told.as_json(request.scope[REQUEST_ID]))


async def _refusal(request: Request, fault: Exception) -> Response:
    """What the router refuses: an unknown path, a method that a path does not have."""
    assert isinstance(fault, HTTPException)
    path = request.url.path[:200]
    told = {
        404: HttpFault(404, "not_found", f"there is no {path}: see /openapi.json"),
        405: HttpFault(405, "method_not_allowed", f"{path} does not take {request.method}"),
    }.get(fault.status_code, HttpFault(fault.status_code, "refused", str(fault.detail)))
    headers = {**(fault.headers or {}), **told.headers}
    return as_json(told.status, told.as_json(request.scope[REQUEST_ID]), headers)


class RequestLog:
    """Around the application: names each request, counts and logs its answer."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        """Take the application."""
        self._app = app
        self._counts = service.counts
        self._is_logging = service.options.server.log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # websockets and the like are switched off
            return
        scope[REQUEST_ID] = request_id = uuid.uuid4().hex
        begun = time.monotonic()
        status = GONE

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception:  # it has been answered by then
            logger.exception("request %s failed", request_id)
        self._counts[f"status_{status}"] += 1
        if self._is_logging:
            took = 1000 * (time.monotonic() - begun)
            method, path = scope["method"], scope["path"][:200]
            logger.info("%s %r %d, %.1f ms, request %s", method, path, status, took, request_id)
