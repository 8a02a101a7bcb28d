"""A server in a process of its own, and plain ways to talk to it: for tests and the load test.

Everything goes to 127.0.0.1. `Served` starts and ends the process; `request` is one request over a
connection of its own; `raw` sends bytes as they are, for what no HTTP client would send.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PATIENCE_S = 120.0  # of whoever waits for something that ought to come
JSON_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers in lower case, its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the fault that it tells of."""
        code: str = self.json["error"]["code"]
        return code


class Served(AbstractContextManager["Served"]):
    """A server that runs while this is entered.

    Args:
        flags: of the server; the port is its own choice.
        log: where its log goes.
        module: what is run; by default the server itself.
        environment: of the process; None: as here.
    """

    def __init__(
        self,
        flags: Sequence[str],
        log: Path,
        *,
        module: str = "s2s_ft.serve",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the process."""
        self._log = log
        command = [sys.executable, "-m", module, "--port", "0", *flags]
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                command, stdout=stream, stderr=stream, cwd=ROOT, env=environment
            )
        self.port = self._find_port()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill the process if it is still there."""
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_until_ready(self) -> Served:
        """Until it answers that it is ready; returns itself."""
        until = time.monotonic() + PATIENCE_S
        while self.request("GET", "/health").status != 200:
            assert time.monotonic() < until, self.log()
            time.sleep(0.05)
        return self

    def health(self) -> Any:
        """What `/health` tells."""
        return self.request("GET", "/health").json

    def generate(self, content: Any, *, timeout: float = PATIENCE_S) -> Reply:
        """Post to `/generate`."""
        return self.request("POST", "/generate", json.dumps(content).encode(), timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] = JSON_HEADERS,
        *,
        timeout: float = PATIENCE_S,
    ) -> Reply:
        """One request over a connection of its own; an iterable body goes in chunks."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, told, answer.read())
        finally:
            connection.close()

    def connect(self, *, timeout: float = PATIENCE_S) -> socket.socket:
        """A connection on which nothing has been said."""
        return socket.create_connection((HOST, self.port), timeout)

    def raw(self, data: bytes, *, timeout: float = PATIENCE_S) -> bytes:
        """What comes back, until the server closes, for bytes sent as they are."""
        with self.connect(timeout=timeout) as connection:
            connection.sendall(data)
            return until_closed(connection)

    def memory_mib(self, name: str = "VmRSS") -> float:
        """Memory of the process: VmRSS now, VmHWM at most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found, status
        return int(found[1]) / 1024

    def end(self, number: int = signal.SIGTERM, *, timeout: float = PATIENCE_S) -> int:
        """Send a signal and wait; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def _find_port(self) -> int:
        until = time.monotonic() + PATIENCE_S
        while not (found := re.search(r"listening on http://\S+:(\d+)", self.log())):
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.02)
        return int(found[1])


def until_closed(connection: socket.socket) -> bytes:
    """Everything that comes before the other side closes; a reset counts as closing."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionError:
        pass
    return data
