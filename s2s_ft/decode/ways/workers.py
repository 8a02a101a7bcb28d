"""Several processes of one machine that share the work of one input (`--workers`).

    this process                                  each worker (python -m s2s_ft.decode.ways.workers)
    reads, hands out shares, keeps the lines      loads the checkpoint, decodes
        {"checkpoint": …, "options": …}    ──>
        {"share": 3, "items": […]}         ──>
                                           <──    {"share": 3, "lines": […]}
                                           <──    {"fault": {"kind": "ValueError", "message": …}}

Notable: messages are lines of JSON on the workers' standard input and output. Whoever is free gets
the next share, so nobody waits while there is work. A worker ends as soon as its input does, so
none outlives this process, however that ends. One that dies (out of memory, mostly) is told of, and
another takes its share; a share that ends two of them ends the run. Workers compute with one thread
each unless OMP_NUM_THREADS says otherwise, and take the GPUs of the machine in turn.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from s2s_ft.cli import EnvironmentFault, setup_logging
from s2s_ft.decode.lines.outputs import Line
from s2s_ft.decode.lines.sources import Share
from s2s_ft.decode.ways.messages import fault_of, item_from, item_to, line_from, line_to, raised
from s2s_ft.options import DecodeOptions, as_dict, build

logger = logging.getLogger(__name__)

MOST_DEATHS = 2
"""Workers that may die of one share before the run ends."""

COMMAND = [sys.executable, "-m", "s2s_ft.decode.ways.workers"]

PATIENCE_SECONDS = 5.0
"""How long a worker may take to end when it is told to."""


@dataclass(frozen=True)
class _Done:
    share: Share
    lines: list[Line]


@dataclass(frozen=True)
class _Death:
    worker: int
    share: Share | None
    code: int


class Workers:
    """Processes that decode; a context manager that starts and ends them.

    Args:
        count: How many.
        checkpoint: Folder or hub id, one of those that `--model_path` names.
        options: All options of the run, as they hold for this checkpoint.

    Attributes:
        processes: The workers.
    """

    def __init__(self, count: int, checkpoint: str, options: DecodeOptions) -> None:
        """Start the processes, which load the checkpoint at once."""
        self._shares: queue.SimpleQueue[Share | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[_Done | _Death | BaseException] = queue.SimpleQueue()
        self.processes: list[subprocess.Popen[bytes]] = []
        for number in range(count):
            self.processes.append(_started())
            first = {"checkpoint": checkpoint, "options": as_dict(options), "number": number}
            threading.Thread(target=self._serve, args=(number, first), daemon=True).start()

    def results(self, shares: Sequence[Share]) -> Iterator[tuple[Share, list[Line]]]:
        """The lines of shares, as they are done.

        Raises:
            ValueError, EnvironmentFault, OSError: What a worker raised.
            EnvironmentFault: A share, or all workers, died.
        """
        deaths: dict[int, int] = {}
        alive, missing = len(self.processes), len(shares)
        for share in shares:
            self._shares.put(share)
        while missing:
            event = self._events.get()
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, _Done):
                missing -= 1
                yield event.share, event.lines
                continue
            alive -= 1
            self._mourn(event, deaths, alive)

    def _mourn(self, death: _Death, deaths: dict[int, int], alive: int) -> None:
        """Hand the share of a dead worker to another one, or give up."""
        reason = f"worker {death.worker} ended ({_ending(death.code)})"
        if death.share is not None:
            number = death.share.number
            deaths[number] = deaths.get(number, 0) + 1
            rows = f"{len(death.share.items)} rows from line {death.share.items[0].line} on"
            if deaths[number] >= MOST_DEATHS:
                raise EnvironmentFault(
                    f"{reason}, as another one did before, while it decoded {rows}: lower "
                    "--batch_size or --workers if memory is short"
                )
            self._shares.put(death.share)
        if not alive:
            raise EnvironmentFault(f"{reason}, and no worker is left: lower --workers")
        logger.warning("%s; %d others do its work", reason, alive)

    def _serve(self, number: int, first: dict[str, Any]) -> None:
        """Talk to one worker, in a thread of its own."""
        process, share = self.processes[number], None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send(process.stdin, first)
            while (share := self._shares.get()) is not None:
                items = [item_to(item) for item in share.items]
                _send(process.stdin, {"share": share.number, "items": items})
                answer = json.loads(process.stdout.readline())
                if "fault" in answer:
                    self._events.put(raised(answer["fault"]))
                    return
                self._events.put(_Done(share, [line_from(each) for each in answer["lines"]]))
        except (OSError, ValueError):  # a closed pipe, or half a message
            self._events.put(_Death(number, share, process.wait()))

    def __enter__(self) -> Workers:
        """Nothing to do: they run."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the processes."""
        for process in self.processes:
            self._shares.put(None)
            process.terminate()
        for process in self.processes:
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _started() -> subprocess.Popen[bytes]:
    """A worker that waits for its first message."""
    package = Path(__file__).resolve().parents[2]  # where s2s_ft lies, installed or not
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "OMP_NUM_THREADS": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
    }
    return subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )


def _ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    return f"{signal.Signals(-code).name}{', is memory short?' if code == -signal.SIGKILL else ''}"


def _send(stream: IO[bytes], message: object) -> None:
    stream.write(json.dumps(message).encode("ascii") + b"\n")
    stream.flush()


def main() -> int:
    """A worker: decode what comes in until nothing does any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard is the first process's business
    setup_logging(level=logging.ERROR)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else gets between the answers
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    try:
        _work(messages, answers)
    except Exception as fault:
        _send(answers, {"fault": fault_of(fault)})
    return 1


def _read(messages: queue.SimpleQueue[Any]) -> None:
    """Take messages in; the process ends with them, whatever it does just then."""
    for line in sys.stdin.buffer:
        messages.put(json.loads(line))
    os._exit(0)


def _work(messages: queue.SimpleQueue[Any], answers: IO[bytes]) -> None:
    from s2s_ft.decode.decoder import Decoder
    from s2s_ft.decode.device import choose_device, make_ready
    from s2s_ft.decode.loading import load

    first = messages.get()
    flat = {name: value for group in first["options"].values() for name, value in group.items()}
    options = build(DecodeOptions, flat)
    device = choose_device(options.runtime, first["number"])
    make_ready(device)
    decoder = Decoder.of(load(first["checkpoint"], options, device), options)
    while True:
        message = messages.get()
        items = [item_from(each) for each in message["items"]]
        with decoder.at_work():
            lines = [line_to(line) for line in decoder.lines(items)]
        _send(answers, {"share": message["share"], "lines": lines})


if __name__ == "__main__":
    sys.exit(main())
