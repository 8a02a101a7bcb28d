"""Serving from a simulated GPU: what the CPU answers, whoever else asks at the same time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.served import Reply, Served
from tests.conftest import WORDS, write_checkpoint
from tests.gpu.conftest import Gpu

TEXTS = [" ".join(WORDS[(3 * row) % 30 : (3 * row) % 30 + 1 + row % 7]) for row in range(40)]

SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 1.0},
    "sampling": {"do_sample": True, "temperature": 1.5, "top_k": 20, "seed": 7},
}

Servers = tuple[Served, Served]


@pytest.fixture(scope="module")
def servers(
    gpu: Gpu, tiny_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """One on the GPU and one on the CPU, of the same checkpoint."""
    folder = tmp_path_factory.mktemp("served")
    lengths = {"max_source_length": 20, "max_target_length": 10}
    model = write_checkpoint(folder / "ckpt", "bert", tiny_tokenizer_folder, s2s_ft=lengths)
    module = "s2s_ft.serve" if gpu.is_real else "tests.gpu.server"
    flags = ["--model_path", str(model), "--max_batch_size", "8"]
    with ExitStack() as entered:
        started = [
            entered.enter_context(Served([*flags, *more], folder / f"{name}.log", module=module))
            for name, more in (("gpu", []), ("cpu", ["--no_cuda"]))
        ]
        yield started[0].wait_until_ready(), started[1].wait_until_ready()


def answers(served: Served, settings: dict[str, Any]) -> list[list[str]]:
    """What it answers to several clients who ask for a text each."""

    def ask(text: str) -> Reply:
        return served.generate({"text": text, **settings})

    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(ask, TEXTS))
    assert {each.status for each in replies} == {200}, served.log()
    return [[each["text"] for each in reply.json["outputs"][0]] for reply in replies]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_answers_are_the_same(gpu: Gpu, servers: Servers, name: str) -> None:
    on_gpu, on_cpu = (answers(each, SETTINGS[name]) for each in servers)
    assert re.search(r"decoding: on cuda:0 \(.+\), float32", servers[0].log())
    assert "decoding: on the CPU, " in servers[1].log()
    same = [one == other for one, other in zip(on_gpu, on_cpu, strict=True)]
    assert sum(same) >= (36 if gpu.is_real else 40)
    assert len({str(each) for each in on_gpu}) > 10
