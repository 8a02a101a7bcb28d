"""The encoder-decoder that methods are compared with, at no size."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM

from benchmarks.bert2bert import build, loss_of, padded, rate_factor, read
from benchmarks.seed_runs import examples_seen
from s2s_ft.text import TextCodec
from tests.distributed.ranks import ROOT


def test_the_rate_goes_up_and_then_down_with_the_budget() -> None:
    def factor(update: int, share: float) -> float:
        return rate_factor(update, share, warm_up=10, warm_share=0.2)

    assert factor(0, 0.0) == 0
    assert factor(5, 0.1) == 0.5
    assert factor(10, 0.2) == 1
    assert factor(40, 0.6) == pytest.approx(0.5)
    assert factor(90, 1.0) == factor(91, 1.1) == 0


def test_the_loss_is_that_of_the_model_itself(
    tiny_checkpoint: Callable[[str], Path], data_file: Path
) -> None:
    folder = str(tiny_checkpoint("bert"))
    codec = TextCodec.load(folder)
    torch.manual_seed(1)
    model = build(folder, codec, fresh_head="random", dropout=0.0).eval()
    _, seen = read(str(data_file), codec, 128, 5)
    source, labels = (padded([row[key] for row in seen], 0) for key in ("source", "target"))
    with torch.inference_mode(), pytest.warns(FutureWarning):
        theirs = model(
            input_ids=source,
            attention_mask=(source != 0).long(),
            labels=labels.masked_fill(labels == 0, -100),
        ).loss
    with torch.inference_mode():
        ours = loss_of(model, seen, codec, 0.0)
    assert float(ours) / int((labels != 0).sum()) == pytest.approx(float(theirs), rel=1e-5)


def test_a_head_that_is_missing_starts_as_the_identity(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tiny_checkpoint("bert")
    codec = TextCodec.load(folder)
    body = AutoModel.from_pretrained(folder)
    body.save_pretrained(tmp_path)
    model = build(str(tmp_path), codec, fresh_head="identity", dropout=0.0)
    head, words = model.decoder.cls.predictions, body.embeddings.word_embeddings.weight
    assert torch.equal(head.transform.dense.weight, torch.eye(32))
    assert head.decoder.weight is model.decoder.bert.embeddings.word_embeddings.weight
    assert torch.equal(head.decoder.weight, words)
    assert torch.equal(model.encoder.embeddings.word_embeddings.weight, words)
    kept = build(str(folder), codec, fresh_head="identity", dropout=0.0).decoder.cls.predictions
    own = AutoModelForMaskedLM.from_pretrained(folder).cls.predictions
    assert torch.equal(kept.transform.dense.weight, own.transform.dense.weight)


def test_a_run_leaves_what_is_compared(
    tiny_checkpoint: Callable[[str], Path], data_file: Path, tmp_path: Path
) -> None:
    script = ROOT / "benchmarks" / "bert2bert.py"
    files = [str(data_file), str(data_file), str(tmp_path / "out")]
    flags = ["--cpu_seconds", "1", "--num_warmup_steps", "5", "--learning_rate", "5e-3"]
    flags += ["--batch_size", "6"]  # an epoch of these 16 rows: 6, 6 and 4
    more = ["--seeds", "4", "--model", str(tiny_checkpoint("bert")), "--num_test_examples", "3"]
    command = [sys.executable, str(script), *files, *flags, *more, "--dev", str(data_file)]
    subprocess.run(command, check=True, capture_output=True)
    folder = tmp_path / "out" / "bert2bert-4"
    figures = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert figures["seconds"] >= 1
    assert figures["examples"] == examples_seen(figures["updates"], 6, 16) > 16
    assert figures["dev_loss"] > 0
    lines = (folder / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 1, 2]
    before = (folder / "run.json").stat().st_mtime_ns
    subprocess.run(command, check=True, capture_output=True)
    assert (folder / "run.json").stat().st_mtime_ns == before
