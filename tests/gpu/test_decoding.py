"""Decoding on a simulated GPU: what the CPU writes, though the host learns late what is decided."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import WORDS, write_checkpoint
from tests.gpu.conftest import Gpu, Job, Outcome
from tests.gpu.outcomes import places

WAYS: dict[str, tuple[str, list[str]]] = {
    "greedy": ("bert", []),
    "beams": ("bert", ["--beam_size", "4", "--num_return_sequences", "3"]),
    "small batches": ("bert", ["--beam_size", "3", "--max_tokens_per_batch", "60"]),
    "n-grams": ("bert", ["--beam_size", "3", "--forbid_duplicate_ngrams", "--ngram_size", "2"]),
    "lengths": ("bert", ["--beam_size", "3", "--min_len", "4", "--length_penalty", "0.8"]),
    "repetition": ("bert", ["--beam_size", "2", "--repetition_penalty", "1.4"]),
    "groups": ("bert", ["--beam_size", "4", "--num_beam_groups", "2", "--diversity_penalty", "1"]),
    "sampling": ("bert", ["--do_sample", "--top_k", "20", "--top_p", "0.9"]),
    "left to right": ("bert", ["--beam_size", "2", "--mode", "l2r"]),
    "phrases": ("bert", ["--beam_size", "3", "--force_words", "python"]),
    "bad words": ("bert", ["--beam_size", "3", "--bad_words", "python,the"]),
    "bfloat16": ("bert", ["--beam_size", "3", "--bf16"]),
    "float16": ("bert", ["--beam_size", "3", "--fp16"]),
    "roberta": ("roberta", ["--beam_size", "3"]),
    "modernbert": ("modernbert", ["--beam_size", "3"]),
    "eurobert": ("eurobert", ["--beam_size", "3"]),
    "unilm": ("unilm", ["--beam_size", "3"]),
}
"""Family of the checkpoint and flags."""

MAY_WAIT = {
    "decode/loading.py:load",  # the model goes to the device
    "decode/loading.py:_in_its_format",
    "transfer.py:values",  # what is decided, some steps later
    "decode/search/beam_search.py:_leave",  # what was found for examples that are
    "decode/search/beams.py:traces",
    "model/columns.py:_live_columns",  # how much a cache needs that is made anew
}

Outputs = dict[str, tuple[list[Any], list[Any], Outcome]]

EXACT = [name for name in WAYS if not name.endswith("float16")]


def rows_of(number: int) -> list[dict[str, Any]]:
    """Sources of several lengths; every third row says how its output begins."""
    return [
        {
            "src": " ".join(WORDS[row % 20 : row % 20 + 3 + row % 8]),
            **({"prefix": WORDS[row % 5]} if row % 3 == 0 else {}),
        }
        for row in range(number)
    ]


@pytest.fixture(scope="module")
def decoding(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Job]:
    """A function that gives the job of decoding fifty rows in one of the ways."""
    sources = tmp_path_factory.mktemp("sources") / "sources.jsonl"
    sources.write_text("".join(json.dumps(row) + "\n" for row in rows_of(50)), encoding="utf-8")

    def make(name: str, output: Path, *more: str) -> Job:
        family, flags = WAYS[name]
        arguments = [
            *("--model_path", str(tiny_checkpoint(family)), "--input_file", str(sources)),
            *("--output_file", str(output), "--output_format", "jsonl"),
            *("--batch_size", "8", "--max_tgt_length", "10", *flags, *more),
        ]
        return {"command": "decode", "arguments": arguments}

    return make


@pytest.fixture(scope="module")
def outputs(
    gpu: Gpu, decoding: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory
) -> Outputs:
    """Of each way: the rows from the CPU, the rows from the GPU, and the outcome of that."""
    folder = tmp_path_factory.mktemp("outputs")
    jobs, written = [], []
    for name in WAYS:
        of_cpu = decoding(name, folder / f"{name} cpu", "--no_cuda")
        of_cpu["arguments"] = [each for each in of_cpu["arguments"] if each != "--fp16"]
        jobs += [of_cpu, decoding(name, folder / f"{name} gpu")]
        written += [folder / f"{name} cpu", folder / f"{name} gpu"]
    outcomes = gpu.run(jobs)
    assert [each["told"][-2000:] for each in outcomes if each["code"] != 0] == []
    found = [rows_in(path) for path in written]
    return dict(zip(WAYS, zip(found[::2], found[1::2], outcomes[1::2], strict=True), strict=True))


def rows_in(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def generating(folder: Path, tokenizer: Path) -> Job:
    """A job that lacks its device."""
    lengths = {"max_source_length": 20, "max_target_length": 10}
    return {
        "command": "generate",
        "model": str(write_checkpoint(folder, "bert", tokenizer, s2s_ft=lengths)),
        "sources": [row["src"] for row in rows_of(30)],
        "options": {"num_beams": 3, "max_new_tokens": 10, "batch_size": 8},
    }


def texts(rows: list[Any]) -> list[list[str]]:
    return [[each["text"] for each in row["hypotheses"]] for row in rows]


@pytest.mark.parametrize("name", EXACT)
def test_the_same_is_written(gpu: Gpu, outputs: Outputs, name: str) -> None:
    on_cpu, on_gpu, outcome = outputs[name]
    assert re.search(r"decoding: on cuda:0 \(.+\), float32", outcome["told"])
    assert_same_rows(gpu, on_gpu, on_cpu)


def assert_same_rows(gpu: Gpu, on_gpu: list[Any], on_cpu: list[Any]) -> None:
    assert len(on_gpu) == 50
    assert len({str(each) for each in texts(on_gpu)}) > 10
    if gpu.is_real:  # where two outputs are as good but for rounding, either may be chosen
        same = [one == other for one, other in zip(texts(on_gpu), texts(on_cpu), strict=True)]
        assert sum(same) >= 45
        return
    assert texts(on_gpu) == texts(on_cpu)
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        for our, their in zip(ours["hypotheses"], theirs["hypotheses"], strict=True):
            assert our["score"] == pytest.approx(their["score"], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", ["beams", "sampling", "phrases"])
def test_two_gpus_share_the_rows(
    gpu: Gpu, decoding: Callable[..., Job], outputs: Outputs, tmp_path: Path, name: str
) -> None:
    (ranks,) = gpu.run_together([decoding(name, tmp_path / "rows")], 2)
    assert [each["code"] for each in ranks] == [0, 0], ranks
    told = r"decoding: 2 processes, this one on cuda:0 \(.+\), float32"
    assert re.search(told, ranks[0]["told"])
    assert_same_rows(gpu, rows_in(tmp_path / "rows"), outputs[name][0])
    for each in ranks:
        assert places(each).keys() <= MAY_WAIT


def test_workers_take_the_gpus_in_turn(
    gpu: Gpu, decoding: Callable[..., Job], outputs: Outputs, tmp_path: Path
) -> None:
    (outcome,) = gpu.run([decoding("beams", tmp_path / "rows", "--workers", "3")])
    assert outcome["code"] == 0, outcome
    assert re.search(r"decoding: 3 workers on the GPUs \(\d+\), float32", outcome["told"])
    assert_same_rows(gpu, rows_in(tmp_path / "rows"), outputs["beams"][0])


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_lower_precisions_score_nearly_the_same(outputs: Outputs, name: str) -> None:
    _, on_gpu, _ = outputs[name]
    exact, _, _ = outputs["beams"]
    scores = [[row["hypotheses"][0]["score"] for row in rows] for rows in (on_gpu, exact)]
    near = [abs(one - other) < 0.05 * abs(other) for one, other in zip(*scores, strict=True)]
    assert sum(near) >= 40


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.usefixtures("simulated")
def test_the_host_waits_only_for_what_is_decided(outputs: Outputs, name: str) -> None:
    _, _, outcome = outputs[name]
    assert places(outcome).keys() <= MAY_WAIT


def test_too_little_memory(simulated: Gpu, tiny_tokenizer_folder: Path, tmp_path: Path) -> None:
    """The search goes on with fewer examples at a time, and finds the same."""
    common = generating(tmp_path, tiny_tokenizer_folder) | {"device": "cuda"}
    whole, short = simulated.run([common, {**common, "most_bytes": 20_000}])
    assert whole["texts"] == short["texts"]
    assert "going on with" in short["told"]
    assert "going on with" not in whole["told"]


def test_a_device_that_is_not_the_current_one(
    gpu: Gpu, tiny_tokenizer_folder: Path, tmp_path: Path
) -> None:
    """The host must wait for the device that computes: others have nothing to do, and are done."""
    common = generating(tmp_path, tiny_tokenizer_folder)
    if gpu.is_real and torch.cuda.device_count() == 1:
        pytest.skip("there is one GPU")
    devices = ("cpu", "cuda", "cuda:1")
    found = gpu.run([{**common, "device": device} for device in devices])
    assert found[1]["texts"] == found[0]["texts"]
    assert found[2]["texts"] == found[0]["texts"]
