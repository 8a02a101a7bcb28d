"""Servers for the tests over HTTP: the process is real, the model need not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.served import Served

Start = Callable[..., Served]


@pytest.fixture
def loud(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a server with the model `Loud` and these flags."""
    with ExitStack() as servers:

        def start(*flags: str) -> Served:
            log = tmp_path / "server.log"
            served = Served(["--model_path", "x", *flags], log, module="tests.serve.fakes")
            return servers.enter_context(served).wait_until_ready()

        yield start


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One such server for all tests of a file that leave it as it was."""
    log = tmp_path_factory.mktemp("served") / "server.log"
    flags = ["--model_path", "x", "--max_request_bytes", "20000", "--read_timeout_s", "1"]
    with Served(flags, log, module="tests.serve.fakes") as served:
        yield served.wait_until_ready()
