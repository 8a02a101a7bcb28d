"""Models that need no torch, for tests of the server around them.

Run as a module it is a server with `Loud` for a model.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from s2s_ft.cli import parse, run
from s2s_ft.serve.backend import Generated, ModelFault, Output, Work
from s2s_ft.serve.options import ServeOptions


def generated(text: str) -> Generated:
    return Generated((Output(text, -1.5, -3.0, len(text.split()), finished=True),))


class Loud:
    """Says a text in capitals; some texts make it slow, and others make it fail."""

    name = "loud"

    def decode(self, works: Sequence[Work], options: Mapping[str, Any]) -> list[Generated]:
        if options.get("seed") == 13:
            raise ValueError("seed: not\nthirteen")
        for work in works:
            match work.text.split(":"):
                case ["sleep", seconds]:
                    time.sleep(float(seconds))
                case ["fail", why]:
                    raise ModelFault(why)
        return [generated(work.prefix + work.text.upper()) for work in works]


class Gated:
    """Notes each batch when it comes, and answers it when it is let through."""

    name = "gated"

    def __init__(self) -> None:
        self.batches: list[tuple[list[str], dict[str, Any]]] = []
        self.came = threading.Semaphore(0)
        self._gate = threading.Semaphore(0)

    @property
    def texts(self) -> list[list[str]]:
        return [texts for texts, _ in self.batches]

    def open(self, times: int = 1) -> None:
        for _ in range(times):
            self._gate.release()

    def decode(self, works: Sequence[Work], options: Mapping[str, Any]) -> list[Generated]:
        self.batches.append(([work.text for work in works], dict(options)))
        self.came.release()
        assert self._gate.acquire(timeout=30)
        if any(work.text == "bad" for work in works):
            raise ModelFault("bad")
        return [generated(work.text.upper()) for work in works]


def main() -> int:
    from s2s_ft.serve.server import serve

    options = parse(ServeOptions, None, "fakes", "A server with a model that needs no torch.")
    return serve(options, load=lambda _: Loud())


if __name__ == "__main__":
    sys.exit(run(main))
