"""Models that need no torch, for tests of the server around them.

Run as a module it is a server with `Loud` for a model.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from s2s_ft.cli import parse, run
from s2s_ft.serve.backend import Generated, ModelFault, Outcome, Output, Settings, Task, Work
from s2s_ft.serve.options import ServeOptions


def generated(text: str) -> Generated:
    return Generated((Output(text, -1.5, -3.0, len(text.split()), finished=True),))


class Fake:
    """A model that takes texts as they are, and has something against thirteen."""

    name = "fake"

    def prepare(self, works: Sequence[Work], settings: Settings) -> list[Any]:
        if dict(settings).get("seed") == 13:
            raise ValueError("seed: not\nthirteen")
        return list(works)


class Loud(Fake):
    """Says a text in capitals; some texts make it slow, others make it fail, and `until:x` stays
    until x has been said.
    """

    name = "loud"

    def decode(
        self, tasks: Iterable[Task | None], settings: Settings, size: int
    ) -> Iterator[tuple[Task, Outcome]]:
        staying: dict[Task, str] = {}
        for task in tasks:
            if task is None:
                time.sleep(0.001)
                continue
            text = task.prepared.text
            match text.split(":") if isinstance(text, str) else []:
                case ["until", other]:
                    staying[task] = other
                    continue
                case ["crash", why]:
                    raise ModelFault(why)
                case ["fail", why]:
                    yield task, ModelFault(why)
                    continue
                case ["sleep", seconds]:
                    time.sleep(float(seconds))
            yield task, loud(task)
            for other in [each for each in staying if staying[each] == text]:
                del staying[other]
                yield other, loud(other)


def loud(task: Task) -> Generated:
    text = task.prepared.text
    return generated(
        task.prepared.prefix + (text if isinstance(text, str) else "|".join(text)).upper()
    )


class Gated(Fake):
    """Notes the texts that are there when it looks, and answers them when it is let through."""

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

    def decode(
        self, tasks: Iterable[Task | None], settings: Settings, size: int
    ) -> Iterator[tuple[Task, Outcome]]:
        batch: list[Task] = []
        for task in tasks:
            if task is not None:
                batch.append(task)
                continue
            self._look(batch, settings)
            yield from ((each, generated(each.prepared.text.upper())) for each in batch)
            batch = []

    def _look(self, batch: list[Task], settings: Settings) -> None:
        texts = [task.prepared.text for task in batch]
        self.batches.append((texts, dict(settings)))
        self.came.release()
        assert self._gate.acquire(timeout=30)
        if "bad" in texts:
            raise ModelFault("bad")


class Stepped(Fake):
    """Takes a step when it is let, and needs as many for a text as that says: `a:3` three.

    Attributes:
        log: `step` for every step, `+a` for a text that comes in, `-a` for one that is done.
    """

    name = "stepped"

    def __init__(self) -> None:
        self.log: list[str] = []
        self.stepped = threading.Semaphore(0)
        self._steps = threading.Semaphore(0)

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self._steps.release()

    def decode(
        self, tasks: Iterable[Task | None], settings: Settings, size: int
    ) -> Iterator[tuple[Task, Outcome]]:
        left: dict[Task, int] = {}
        for task in tasks:
            if task is not None:
                name, steps = task.prepared.text.split(":")
                left[task] = int(steps)
                self.log.append(f"+{name}")
                continue
            assert self._steps.acquire(timeout=30)
            self.log.append("step")
            left = {each: steps - 1 for each, steps in left.items() if each.is_wanted}
            for each in [each for each, steps in left.items() if not steps]:
                del left[each]
                self.log.append(f"-{each.prepared.text.split(':')[0]}")
                yield each, generated(each.prepared.text.upper())
            self.stepped.release()


def main() -> int:
    from s2s_ft.serve.server import serve

    options = parse(ServeOptions, None, "fakes", "A server with a model that needs no torch.")
    return serve(options, load=lambda _: Loud())


if __name__ == "__main__":
    sys.exit(run(main))
