"""Servers for the tests over HTTP: the process is real, the model need not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.served import Served
from s2s_ft.model.pretrained import load_finetuned, save
from s2s_ft.text import TextCodec

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


@pytest.fixture(scope="session")
def checkpoint(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny checkpoint that knows its lengths, as training saves one; its outputs end early or
    late, as the source will have it.
    """
    folder = tmp_path_factory.mktemp("served") / "ckpt"
    source = tiny_checkpoint("bert")
    model = load_finetuned(str(source))
    model.settings = replace(
        model.settings, method="pseudo_mask", max_source_length=24, max_target_length=12
    )
    codec = TextCodec.load(str(source))
    with torch.no_grad():
        model.encoder.get_output_embeddings().bias[codec.special.sep] = 4.0
    save(model, codec, folder)
    return folder
