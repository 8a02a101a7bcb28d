"""A saved state comes back whole, and what else a checkpoint keeps."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from s2s_ft.storage.checkpoint_record import FORMAT, find_fault, read_record
from s2s_ft.train import resume
from s2s_ft.train.checkpoint import BEST, OPTIMIZER
from s2s_ft.train.distributed import World
from s2s_ft.train.identity import FLAGS
from s2s_ft.train.resume import Resumed, restore_checkpoint, save_best
from s2s_ft.train.window import Window
from tests.unit.train.resume.states import FILES, Ready, advance, assert_same_state, save


def test_the_state_comes_back_and_goes_on_alike(ready: Ready, tmp_path: Path) -> None:
    run = ready()
    advance(run, 3)
    validation = {"best_value": 1.5, "best_step": 2, "last_step": 2}
    folder = save(run, tmp_path / "out", validation=validation)
    assert folder == tmp_path / "out" / "ckpt-3"
    other = ready()
    found = restore_checkpoint(folder, other.state, other.facts)
    assert found == Resumed(Window(steps=1), validation, None)
    assert_same_state(run, other)
    advance(run, 2)
    advance(other, 2)
    assert_same_state(run, other)


def test_a_checkpoint_has_every_file_and_nothing_random(ready: Ready, tmp_path: Path) -> None:
    run = ready()
    advance(run, 1)
    folder = save(run, tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    record = read_record(folder)
    assert record["format"] == FORMAT == 2
    assert record["processes"] == 1
    assert record["identity"].keys() == FLAGS.keys()
    assert (record["step"], record["epoch"], record["batch_in_epoch"]) == (1, 0, 1)
    assert any(name.startswith("exp_avg/encoder.") for name in load_file(folder / OPTIMIZER))


def test_an_ending_is_remembered(
    ready: Ready, tmp_path: Path, data_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until what has led to it is changed."""
    run = ready(dev_file=str(data_file), early_stopping_patience=2)
    folder = save(run, tmp_path / "out", finished="no better loss in 2 looks")
    found = restore_checkpoint(folder, run.state, run.facts)
    assert found.finished == "no better loss in 2 looks"
    other = ready(dev_file=str(data_file), early_stopping_patience=2, num_samples=1)
    assert restore_checkpoint(folder, other.state, other.facts).finished is not None
    other = ready(dev_file=str(data_file), early_stopping_patience=3)
    assert restore_checkpoint(folder, other.state, other.facts).finished is None
    assert "the run had ended (no better loss in 2 looks); its new settings decide" in caplog.text


def test_the_best_model_replaces_the_one_before(ready: Ready, tmp_path: Path) -> None:
    run = ready()
    for updates in (1, 2):
        advance(run, updates)
        folder = save_best(tmp_path / "out", run.state, run.codec, run.facts, {"loss": 2.5})
        assert folder == tmp_path / "out" / BEST
        assert find_fault(folder) is None
        assert OPTIMIZER not in {path.name for path in folder.iterdir()}
        record = read_record(folder)
        assert (record["step"], record["look"]) == (run.state.step, {"loss": 2.5})
    weights = load_file(folder / "model.safetensors")
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(weights[name], run.state.model.state_dict()[f"encoder.{name}"])


def test_only_the_newest_are_kept(ready: Ready, tmp_path: Path) -> None:
    run = ready()
    for _ in range(3):
        advance(run, 1)
        save(run, tmp_path / "out", keep=2)
    assert sorted(path.name for path in (tmp_path / "out").glob("ckpt-*")) == ["ckpt-2", "ckpt-3"]


class Rank1(World):
    """One of two ranks, which hears from rank 0 what the test says."""

    def __init__(self, heard: str | None) -> None:
        super().__init__(rank=1, size=2)
        object.__setattr__(self, "heard", heard)

    def from_main(self, value: Any) -> Any:
        return self.__dict__["heard"]

    def add_up(self, tensor: Tensor) -> Tensor:
        return tensor


def test_only_rank_0_writes(ready: Ready, tmp_path: Path) -> None:
    run = ready()
    run = replace(run, state=replace(run.state, world=Rank1(None)))
    assert save(run, tmp_path / "out") == tmp_path / "out" / "ckpt-0"
    assert not list((tmp_path / "out").glob("ckpt-*"))


def test_where_rank_0_cannot_write_all_fail_alike(
    ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path, _state: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(resume, "save_optimizer", fail)
    run = ready()
    with pytest.raises(OSError, match="could not be saved: No space left") as caught:
        save(run, tmp_path / "out")
    run = replace(run, state=replace(run.state, world=Rank1(str(caught.value))))
    with pytest.raises(OSError, match="could not be saved: No space left") as heard:
        save(run, tmp_path / "out")
    assert str(heard.value) == str(caught.value)
