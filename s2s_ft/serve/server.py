"""The story of a server: listen, load the model, serve, and end in good order.

What a signal does: after SIGTERM or SIGINT new work is refused (503), what was accepted is finished
within `--shutdown_grace_s`, and the exit code is 128 + n as that of the other commands. A second
Ctrl-C is obeyed at once.

Notable: uvicorn serves HTTP, but signals are ours: a server that takes no more work still tells so
at `/health` until it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator

import uvicorn

from s2s_ft.cli import EnvironmentFault
from s2s_ft.serve.app import build_app
from s2s_ft.serve.backend import Backend
from s2s_ft.serve.connection import connection_class
from s2s_ft.serve.options import ServedModelOptions, ServeOptions, ServerOptions
from s2s_ft.serve.service import Service

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ECHO_S = 2.0  # a SIGINT that comes within this time of the first signal is the same one
MAX_HEADER_BYTES = 32 * 1024
IDLE_WAIT_S = 1.0  # for the model's thread to end once nothing is left to do


def serve(
    options: ServeOptions, load: Callable[[ServedModelOptions], Backend] | None = None
) -> int:
    """Serve until a signal ends it.

    Args:
        options: all of the command's.
        load: makes the model; None: that of `--model_path`.

    Returns:
        The exit code. Where the model still computes something that nobody waits for, there is no
        return: the process ends, since a thread inside torch cannot be stopped, nor outlive an
        interpreter that is being wound up.

    Raises:
        EnvironmentFault: the address cannot be listened on.
        ValueError: the checkpoint is not as it should be.
    """
    load = load or load_checkpoint
    with listening_socket(options.server) as listener:
        running = _Run(options, lambda: load(options.model))
        exit_code = asyncio.run(running.until_signal(listener))
    if not running.model_has_ended():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    return exit_code


def load_checkpoint(options: ServedModelOptions) -> Backend:
    """The model of `--model_path`, ready to decode."""
    from s2s_ft.serve.model import GeneratorBackend  # torch comes with it

    return GeneratorBackend.load(options)


def listening_socket(options: ServerOptions) -> socket.socket:
    """A socket on `--host` and `--port`.

    Raises:
        EnvironmentFault: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=512)
    except OSError as fault:
        why = (fault.strerror or str(fault)).split(" (while")[0]  # Python adds the address
        raise EnvironmentFault(
            f"--host {options.host} --port {options.port} cannot be listened on: {why}"
        ) from fault


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Run:
    """One run of the server."""

    def __init__(self, options: ServeOptions, load: Callable[[], Backend]) -> None:
        self._options = options
        self._service = Service(load, options)
        self._server = _Server(self._config())
        self._signal: int | None = None
        self._signalled_at = 0.0
        self._told = asyncio.Event()

    async def until_signal(self, listener: socket.socket) -> int:
        """Serve until a signal, or until the model turns out not to be loadable."""
        with self._signals():
            http = asyncio.ensure_future(self._server.serve(sockets=[listener]))
            starting = asyncio.ensure_future(self._start(listener))
            told = asyncio.ensure_future(self._told.wait())
            try:
                await asyncio.wait({http, starting, told}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done() and starting.exception() is None:
                    await asyncio.wait({http, told}, return_when=asyncio.FIRST_COMPLETED)
                await self._wind_up(http)
            finally:
                told.cancel()
                starting.cancel()
            await asyncio.gather(told, return_exceptions=True)
        if starting.done() and not starting.cancelled():
            starting.result()  # raises what kept the model from being loaded
        return 0 if self._signal is None else 128 + self._signal

    def model_has_ended(self) -> bool:
        """Whether the model's thread is done with all it was given."""
        return self._service.has_ended(IDLE_WAIT_S)

    async def _start(self, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        logger.info("listening on http://%s:%d, loading the model", shown, port)
        begun = time.monotonic()
        await self._service.start()
        logger.info("ready after %.1f s", time.monotonic() - begun)

    async def _wind_up(self, http: asyncio.Future[None]) -> None:
        """Finish what was accepted, then close."""
        grace_s = self._options.server.shutdown_grace_s if self._signal is not None else 0.0
        until = time.monotonic() + grace_s
        given_up = await self._service.drain(grace_s)
        if given_up:
            logger.warning("%d requests were not done in time and were given up", given_up)
        # The rest of the grace is for answers on their way to slow clients.
        remaining = max(until - time.monotonic(), 1.0)
        self._server.config.timeout_graceful_shutdown = remaining  # type: ignore[assignment]
        self._server.should_exit = True
        await http

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._note, number)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    def _note(self, number: int) -> None:
        now = time.monotonic()
        if self._signal is None:
            self._signal, self._signalled_at = number, now
            logger.info("%s: finishing what was accepted", signal.Signals(number).name)
            self._told.set()
        elif number == signal.SIGINT and now - self._signalled_at > ECHO_S:
            logger.warning("ending at once")
            os._exit(128 + number)

    def _config(self) -> uvicorn.Config:
        options = self._options.server
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        return uvicorn.Config(
            build_app(self._service),
            http=connection_class(options),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=options.keep_alive_s,  # type: ignore[arg-type]
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
