"""A load test of the server: good requests by many clients, alone and among hostile ones.

    python benchmarks/serve_load.py --model FOLDER [--clients 32] [--requests 200] [--batch_sizes …]

For each batch size a server of its own is started on this machine and

1. answers the requests, each with one text, from concurrent clients (`requests/s`, p50, p95);
2. answers them again while malformed, mistyped, oversized, slow, silent and leaving clients
   (`hostile.py`) keep at it and `/health` is asked ten times a second;
3. gets SIGTERM while every client has a request under way.

Every good request must be answered (`lost`), with the text that a batch of one gives (`identical`);
every hostile one must get what it deserves (`surprises`); nobody may hang; memory must stay where
it was. Client and server share the machine, the server computes on one thread.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.hostile import Attack
from benchmarks.http_client import Client, post
from benchmarks.rounds import write_report
from benchmarks.served import ROOT, Served

DATA = ROOT / "examples" / "debsum" / "test.jsonl.gz"
RETRY_S = 0.05  # after a 503
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Figures:
    """What came of a run of good requests."""

    texts: dict[int, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    took: float = 0.0
    health_s: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share of the requests was answered."""
        return 1000 * statistics.quantiles(self.seconds, n=100)[round(100 * share) - 1]


async def load(port: int, requests: Sequence[bytes], num_clients: int) -> Figures:
    """Send every request once, as fast as so many clients can."""
    figures = Figures()
    waiting = list(enumerate(requests))[::-1]

    async def client() -> None:
        connection = Client(port)
        while waiting:
            number, request = waiting.pop()
            begun = time.perf_counter()
            while (reply := await connection.ask(request)).status == 503:
                await asyncio.sleep(RETRY_S)
            figures.seconds.append(time.perf_counter() - begun)
            if reply.status == 200:
                figures.texts[number] = reply.json["outputs"][0][0]["text"]
        connection.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(num_clients)))
    figures.took = time.perf_counter() - begun
    return figures


async def load_under_attack(
    port: int, requests: Sequence[bytes], num_clients: int
) -> tuple[Figures, Attack]:
    """The same among hostile clients."""
    attack, stop = Attack(port), asyncio.Event()
    hostile = asyncio.ensure_future(attack.run(stop))
    health: list[float] = []
    watching = asyncio.ensure_future(watch(port, stop, health))
    figures = await load(port, requests, num_clients)
    figures.health_s = health
    stop.set()
    await asyncio.gather(hostile, watching)
    return figures, attack


async def watch(port: int, stop: asyncio.Event, seconds: list[float]) -> None:
    """Ask `/health` ten times a second."""
    connection = Client(port)
    while not stop.is_set():
        begun = time.perf_counter()
        await connection.ask(HEALTH)
        seconds.append(time.perf_counter() - begun)
        await asyncio.sleep(0.1)
    connection.close()


async def end_while_busy(served: Served, requests: Sequence[bytes]) -> list[int]:
    """SIGTERM while these requests are under way; their statuses."""
    clients = [Client(served.port) for _ in requests]
    answers = [
        asyncio.ensure_future(client.ask(request))
        for client, request in zip(clients, requests, strict=True)
    ]
    await asyncio.sleep(0.2)
    served.process.send_signal(signal.SIGTERM)
    replies = await asyncio.gather(*answers, return_exceptions=True)
    return [0 if isinstance(reply, BaseException) else reply.status for reply in replies]


def measure(arguments: argparse.Namespace, size: int, requests: list[bytes]) -> dict[str, Any]:
    """The row of a batch size, its answers among it."""
    flags = ["--model_path", arguments.model, "--max_batch_size", str(size), "--no_cuda"]
    flags += ["--read_timeout_s", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    log = Path(tempfile.mkdtemp()) / "server.log"
    with Served(flags, log, environment=environment) as served:
        served.wait_until_ready()
        asyncio.run(load(served.port, requests[: 2 * size], arguments.clients))  # warm
        before = served.memory_mib()
        quiet = asyncio.run(load(served.port, requests, arguments.clients))
        loaded = served.memory_mib("VmHWM")
        attacked, attack = asyncio.run(load_under_attack(served.port, requests, arguments.clients))
        peak = served.memory_mib("VmHWM")
        counts = served.health()["counts"]
        last = asyncio.run(end_while_busy(served, requests[: arguments.clients]))
        code = served.process.wait(60)
        assert "Traceback" not in served.log(), served.log()
    return {
        "batch size": size,
        "requests/s": round(len(requests) / quiet.took, 2),
        "p50 ms": round(quiet.quantile(0.5), 1),
        "p95 ms": round(quiet.quantile(0.95), 1),
        "attacked requests/s": round(len(requests) / attacked.took, 2),
        "attacked p50 ms": round(attacked.quantile(0.5), 1),
        "attacked p95 ms": round(attacked.quantile(0.95), 1),
        "lost": 2 * len(requests) - len(quiet.texts) - len(attacked.texts),
        "hostile": sum(attack.counts.values()),
        "surprises": sum(attack.surprises.values()),
        "health max ms": round(1000 * max(attacked.health_s), 1),
        "MiB before": round(before),
        "MiB loaded": round(loaded),
        "MiB attacked": round(peak),
        "at SIGTERM answered": f"{last.count(200)}/{len(last)}",
        "exit code": code,
        "details": {"kinds": attack.counts, "surprises": attack.surprises, "server": counts},
        "texts": [quiet.texts, attacked.texts],
    }


def add_identical(rows: list[dict[str, Any]]) -> None:
    """Beside each row: which share of its texts is that of the first row's quiet run."""
    reference = rows[0]["texts"][0]
    for row in rows:
        pairs = [
            texts.get(number) == text
            for texts in row.pop("texts")
            for number, text in reference.items()
        ]
        row["identical"] = sum(pairs) / len(pairs)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 4, 8, 16, 32])
    arguments = parser.parse_args()
    with gzip.open(arguments.data, "rt", encoding="utf-8") as file:
        sources = [json.loads(line)["src"] for line in file]
    requests = [
        post({"text": sources[number % len(sources)], "num_beams": arguments.beams})
        for number in range(arguments.requests)
    ]
    busy = os.getloadavg()[0]  # what else the machine was doing
    rows = [measure(arguments, size, requests) for size in arguments.batch_sizes]
    add_identical(rows)
    details = {row["batch size"]: row.pop("details") for row in rows}
    write_report(
        "serve_load",
        rows,
        clients=arguments.clients,
        requests=arguments.requests,
        beams=arguments.beams,
        load_average_before=round(busy, 2),
        details=details,
    )


if __name__ == "__main__":
    main()
