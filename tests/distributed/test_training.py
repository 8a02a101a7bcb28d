"""One rank, two or four: the same updates; sharded or not: the same checkpoints."""

from __future__ import annotations

import json
import math
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s2s_ft.layout import Batch
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from tests.distributed.conftest import Flags, assert_close, assert_equal
from tests.distributed.ranks import Ended, together, train_with, training

SHARDS = pytest.mark.skipif(torch.__version__ < "2.7", reason="it has no FSDP2 on CPUs")


def run(size: int, given: list[object], tmp_path: Path) -> list[Ended]:
    ended = together(training(given), size, tmp_path, launched=size > 1)
    assert [each.code for each in ended] == [0] * size, ended
    return ended


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.splitlines()]
    return [line for line in found if line["kind"] == kind]


def begun(whole: Path, folder: Path) -> Path:
    """A run that was stopped after the fifth update of another one."""
    folder.mkdir()
    shutil.copytree(whole / "ckpt-5", folder / "ckpt-5")
    return folder


def test_any_number_of_ranks_takes_the_same_updates(flags: Flags, tmp_path: Path) -> None:
    """Micro-batches are the same here, so dropout is too."""
    folders = {size: tmp_path / f"ranks-{size}" for size in (1, 2, 4)}
    for size, folder in folders.items():
        ended = run(size, flags(folder), tmp_path)
        assert [each.text for each in ended[1:]] == [""] * (size - 1), "only rank 0 tells"
    for size in (2, 4):
        assert_close(folders[1] / "ckpt-9", folders[size] / "ckpt-9")
        for one, other in zip(*(lines(folders[n], "train") for n in (1, size)), strict=True):
            assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
            assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-5)


def test_going_on_with_any_number_of_ranks(flags: Flags, tmp_path: Path) -> None:
    """The same examples in the same order with the same corruption; as before, to the last bit."""
    whole = tmp_path / "whole"
    run(2, flags(whole), tmp_path)
    for size in (1, 2, 4):
        folder = begun(whole, tmp_path / f"ranks-{size}")
        ended = run(size, flags(folder), tmp_path)
        assert ("another number of processes: 2 before" in ended[0].text) == (size != 2)
        assert_close(whole / "ckpt-9", folder / "ckpt-9", 0.0 if size == 2 else 1e-6)


def test_however_an_update_is_cut(flags: Flags, tmp_path: Path) -> None:
    """1 x 6 = 2 x 3 = 2 ranks of 1 x 3, where nothing is dropped out."""
    ways: dict[str, tuple[int, tuple[object, ...]]] = {
        "1x6": (1, ("--per_gpu_train_batch_size", 6)),
        "2x3": (1, ("--per_gpu_train_batch_size", 3)),
        "ranks": (2, ("--per_gpu_train_batch_size", 3)),
        "tokens": (2, ("--per_gpu_train_batch_size", 6, "--max_tokens_per_batch", 30)),
    }
    for name, (size, more) in ways.items():
        run(size, flags(tmp_path / name, "--dropout", 0, *more), tmp_path)
        assert_close(tmp_path / "1x6" / "ckpt-9", tmp_path / name / "ckpt-9")


@pytest.mark.parametrize(
    "more",
    [
        ("--unfreeze_steps", 2),
        ("--peft", "lora"),
        ("--gradient_checkpointing", "--layer_decay", 0.8),
        ("--fix_word_embedding", "--max_tokens_per_batch", 40),
    ],
    ids=lambda more: more[0],
)
def test_what_is_trained_may_vary(more: tuple[object, ...], flags: Flags, tmp_path: Path) -> None:
    folders = {size: tmp_path / f"ranks-{size}" for size in (1, 2)}
    for size, folder in folders.items():
        run(size, flags(folder, *more), tmp_path)
    assert_close(folders[1] / "ckpt-9", folders[2] / "ckpt-9")
    again = begun(folders[2], tmp_path / "again")
    run(2, flags(again, *more), tmp_path)
    assert_equal(folders[2] / "ckpt-9", again / "ckpt-9")


def test_examples_of_an_update_follow_from_the_ranks_unless_given(
    flags: Flags, tmp_path: Path
) -> None:
    given = flags(tmp_path / "out", "--gradient_accumulation_steps", 2)
    place = given.index("--global_batch_size")
    run(2, given[:place] + given[place + 2 :], tmp_path)
    told = json.loads((tmp_path / "out" / "train_options.json").read_text(encoding="utf-8"))
    assert told["schedule"]["global_batch_size"] == 8
    assert told["batches"]["ranks"] == 2


def test_held_out_rows_are_shared(flags: Flags, rows: Path, tmp_path: Path) -> None:
    looking = ("--dev_file", rows, "--num_dev_examples", 5, "--eval_batch_size", 2)
    more = ("--eval_steps", 4, "--keep_checkpoints", 1, "--eval_metric", "rouge1")
    sharded, one_batch = ("--fsdp",), ("--eval_batch_size", 5)  # the second rank has none to take
    ways: dict[str, tuple[int, tuple[object, ...]]] = {
        "alone": (1, ()),
        "ranks": (2, ()),
        "idle": (2, one_batch),
        "sharded": (2, sharded),
        "sharded-idle": (2, (*sharded, *one_batch)),
    }
    if torch.__version__ < "2.8":  # which is told: tests/unit/train/test_sharding.py
        del ways["sharded"], ways["sharded-idle"]
    for name, (size, way) in ways.items():
        run(size, flags(tmp_path / name, *looking, *more, *way), tmp_path)
    alone = lines(tmp_path / "alone", "look")
    assert [line["step"] for line in alone] == [4, 8, 9]
    for name in set(ways) - {"alone"}:
        folder = tmp_path / name
        assert_close(tmp_path / "alone" / "ckpt-9", folder / "ckpt-9")
        assert {path.name for path in folder.glob("ckpt-*")} == {"ckpt-9"}
        assert (folder / "best" / "model.safetensors").exists()
        for one, other in zip(alone, lines(folder, "look"), strict=True):
            assert one["dev_loss"] == pytest.approx(other["dev_loss"], abs=1e-5)
            assert one["dev_rouge1"] == other["dev_rouge1"]


@SHARDS
def test_spread_over_ranks(flags: Flags, tmp_path: Path) -> None:
    """FSDP2: the updates are those of one rank, and a checkpoint does not know how it was made."""
    alone, sharded = tmp_path / "alone", tmp_path / "sharded"
    run(1, flags(alone), tmp_path)
    run(2, flags(sharded, "--fsdp"), tmp_path)
    assert_close(alone / "ckpt-5", sharded / "ckpt-5")
    assert_close(alone / "ckpt-9", sharded / "ckpt-9")
    load_finetuned(str(sharded / "ckpt-9"))
    again = begun(sharded, tmp_path / "again")
    run(2, flags(again, "--fsdp"), tmp_path)
    assert_equal(sharded / "ckpt-9", again / "ckpt-9")
    whole = begun(sharded, tmp_path / "sharded-then-whole")
    run(1, flags(whole), tmp_path)
    assert_close(alone / "ckpt-9", whole / "ckpt-9")
    cut = begun(alone, tmp_path / "whole-then-sharded")
    run(2, flags(cut, "--fsdp"), tmp_path)
    assert_close(alone / "ckpt-9", cut / "ckpt-9")


def poison(argv: list[str]) -> int:
    """Train, but on rank 1 every loss from the third update on is no number."""
    own = Seq2SeqModel.forward
    passes = 0

    def forward(
        self: Seq2SeqModel, batch: Batch, label_smoothing: float, scale: Tensor | float = 1.0
    ) -> Tensor:
        nonlocal passes
        passes += self.training
        is_bad = os.environ["RANK"] == "1" and passes > 4
        return own(self, batch, label_smoothing, scale) * (math.nan if is_bad else 1.0)

    Seq2SeqModel.forward = forward  # type: ignore[method-assign]
    return train_with(argv)


@pytest.mark.parametrize("sharded", [False, pytest.param(True, marks=SHARDS)])
def test_one_bad_rank_stops_all(sharded: bool, flags: Flags, tmp_path: Path) -> None:
    output = tmp_path / "out"
    more = ("--save_steps", 1, *(["--fsdp"] if sharded else []))
    argv = [str(flag) for flag in flags(output, *more)]
    good, bad = together(partial(poison, argv), 2, tmp_path)
    assert (good.code, bad.code) == (3, 3), (good.text, bad.text)
    assert "update 3 of 9: the loss is nan, on examples of another rank" in good.text
    assert "update 3 of 9: the loss is nan, on examples " in bad.text
    assert "encoder.bert.embeddings.word_embeddings.weight" in bad.text
    assert "nothing was stepped" in bad.text
    assert {path.name for path in output.glob("ckpt-*")} == {"ckpt-1", "ckpt-2"}


def test_a_mistake_is_told_at_once(flags: Flags, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"src": "a"}\n', encoding="utf-8")
    given = flags(tmp_path / "out", "--train_file", bad)
    main, other = together(training(given), 2, tmp_path)
    assert (main.code, other.code) == (2, 2)
    for ended in (main, other):
        (line,) = [each for each in ended.text.splitlines() if each.startswith("error:")]
        assert "line 1" in line
        assert "'tgt'" in line
