"""What a checkpoint holds, what can go on from it, and that damage to any file costs no bit."""

from __future__ import annotations

import errno
import json
import logging
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from s2s_ft.options import TrainOptions, build
from s2s_ft.train import folders, resume
from s2s_ft.train import preparation as preparation_module
from s2s_ft.train.checkpoint import BEST, OPTIMIZER, save_optimizer
from s2s_ft.train.distributed import World
from s2s_ft.train.folders import FORMAT, RECORD, find_fault, read_record
from s2s_ft.train.identity import FLAGS
from s2s_ft.train.preparation import Preparation, prepare
from s2s_ft.train.resume import Resumed, restore_checkpoint, save_best, save_checkpoint
from s2s_ft.train.run import train
from s2s_ft.train.step import take_updates
from s2s_ft.train.window import Window

Ready = Callable[..., Preparation]

FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    OPTIMIZER,
    "tokenizer.json",
    "tokenizer_config.json",
    RECORD,
)
"""Every file of a checkpoint; a test holds this list to the truth."""


@pytest.fixture(autouse=True)
def _quiet_surroundings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(preparation_module, "fast_float32_matmul", lambda: "highest")
    caplog.set_level(logging.INFO)


@pytest.fixture
def flags(
    tiny_checkpoint: Callable[[str], Path], data_file: Path, tmp_path: Path
) -> dict[str, Any]:
    """A short run with dropout and two passes an update, whose middle is not between two epochs."""
    return {
        "train_file": str(data_file),
        "model_name_or_path": str(tiny_checkpoint("bert")),
        "output_dir": str(tmp_path / "out"),
        "max_source_seq_length": 14,
        "max_target_seq_length": 6,
        "per_gpu_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "num_training_steps": 6,
        "learning_rate": 1e-3,
        "dropout": 0.1,
        "save_steps": 2,
        "logging_steps": 1,
        "no_cuda": True,
    }


@pytest.fixture
def ready(flags: dict[str, Any], tmp_path: Path) -> Ready:
    """A function that prepares the run with some flags changed."""
    (tmp_path / "out").mkdir()

    def make(**changes: Any) -> Preparation:
        return prepare(build(TrainOptions, {**flags, **changes}), World())

    return make


def advance(run: Preparation, updates: int) -> None:
    """Take some updates."""
    taken = take_updates(run.state, run.data, wait_at=lambda _step: True, signal=lambda: None)
    for _ in range(updates):
        next(taken)
    taken.close()


def save(run: Preparation, output_dir: Path, **more: Any) -> Path:
    return save_checkpoint(output_dir, run.state, run.codec, run.facts, Window(steps=1), **more)


def assert_same_state(one: Preparation, other: Preparation) -> None:
    assert one.state.step == other.state.step
    weights = other.state.model.state_dict()
    for name, weight in one.state.model.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    first, second = one.state.optimizer.state_dict(), other.state.optimizer.state_dict()
    for index, kinds in first["state"].items():
        for kind, value in kinds.items():
            assert torch.equal(value, second["state"][index][kind])


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
    assert "the run had ended (no better loss in 2 looks), and goes on" in caplog.text


def test_the_best_model_replaces_the_one_before(ready: Ready, tmp_path: Path) -> None:
    run = ready()
    for updates in (1, 2):
        advance(run, updates)
        folder = save_best(tmp_path / "out", run.state, run.codec, {"loss": 2.5})
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


# ------------------------------------------------------------------ what may change, and what not

OTHER_RUNS: dict[str, tuple[dict[str, Any], str]] = {
    "method": ({"fine_tuning_method": "causal"}, "--fine_tuning_method"),
    "corruption": ({"target_mask_prob": 0.7}, "--target_mask_prob"),
    "lengths": ({"max_source_seq_length": 12}, "--max_source_seq_length"),
    "seed": ({"seed": 1}, "--seed"),
    "examples": ({"num_train_examples": 12}, "--num_train_examples"),
    "update": ({"per_gpu_train_batch_size": 1}, "--global_batch_size"),
    "dropout": ({"dropout": 0.2}, "--dropout"),
    "trained": ({"fix_word_embedding": True}, "--fix_word_embedding"),
    "adapter": ({"peft": "lora"}, "adapter was none, now .*--peft"),
}


@pytest.mark.parametrize("kind", OTHER_RUNS)
def test_another_run_is_refused(kind: str, ready: Ready, tmp_path: Path) -> None:
    changes, message = OTHER_RUNS[kind]
    folder = save(ready(), tmp_path / "out")
    other = ready(**changes)
    with pytest.raises(
        ValueError, match=rf"cannot resume from .*{message}.*--overwrite_output_dir"
    ):
        restore_checkpoint(folder, other.state, other.facts)


def test_other_weights_of_the_same_shape_are_refused(
    ready: Ready, tmp_path: Path, tiny_checkpoint: Callable[[str], Path]
) -> None:
    """Those beside the embeddings, too."""
    folder = save(ready(), tmp_path / "out")
    encoder = tmp_path / "encoder"
    shutil.copytree(tiny_checkpoint("bert"), encoder)
    content = bytearray((encoder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (encoder / "model.safetensors").write_bytes(content)
    other = ready(model_name_or_path=str(encoder))
    with pytest.raises(ValueError, match=r"pretrained weights was .*--model_name_or_path"):
        restore_checkpoint(folder, other.state, other.facts)


def test_the_same_rows_under_another_name_are_the_same_run(
    ready: Ready, tmp_path: Path, data_file: Path
) -> None:
    folder = save(ready(), tmp_path / "out")
    moved = Path(shutil.copy(data_file, tmp_path / "moved.jsonl"))
    other = ready(train_file=str(moved))
    restore_checkpoint(folder, other.state, other.facts)


def test_what_may_change_is_told(
    ready: Ready, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """How an update is cut, rates, length; and the number of processes."""
    folder = save(ready(), tmp_path / "out")
    record = read_record(folder)
    record["processes"] = 2
    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")
    other = ready(
        per_gpu_train_batch_size=4,
        gradient_accumulation_steps=1,
        layer_decay=0.9,
        unfreeze_steps=3,
        num_training_steps=9,
        local_rank=0,
        save_steps=1,
    )
    restore_checkpoint(folder, other.state, other.facts)
    for told in (
        "optimization per_gpu_train_batch_size: 2 before, 4 now",
        "optimization gradient_accumulation_steps: 2 before, 1 now",
        "optimization layer_decay: 1.0 before, 0.9 now",
        "optimization unfreeze_steps: 0 before, 3 now",
        "optimization num_training_steps: 6 before, 9 now",
        "another number of processes: 2 before, 1 now; results may round differently",
    ):
        assert told in caplog.text
    assert "local_rank" not in caplog.text
    assert caplog.text.count("resuming with another") == 6


@pytest.mark.parametrize(("found", "word"), [(1, "older"), (3, "newer")])
def test_another_format_is_refused_in_one_line(
    found: int, word: str, ready: Ready, tmp_path: Path
) -> None:
    run = ready()
    folder = save(run, tmp_path / "out")
    record = {**read_record(folder), "format": found}
    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")
    message = rf"cannot resume from .*format {found} of an? {word} version.*--overwrite_output_dir"
    with pytest.raises(ValueError, match=message) as caught:
        restore_checkpoint(folder, run.state, run.facts)
    assert "\n" not in str(caught.value)


def test_a_state_of_what_is_not_trained_is_refused(ready: Ready, tmp_path: Path) -> None:
    run = ready()
    folder = save(run, tmp_path / "out")
    save_optimizer(folder, {"encoder.former": {"step": torch.tensor(1.0)}})
    with pytest.raises(
        ValueError, match=rf"{OPTIMIZER} has a state of encoder\.former.*not trained"
    ):
        restore_checkpoint(folder, run.state, run.facts)


# ------------------------------------------------------------------ several ranks


class Rank1(World):
    """One of two ranks, which hears from rank 0 what the test says."""

    def __init__(self, heard: str | None) -> None:
        super().__init__(rank=1, size=2)
        object.__setattr__(self, "heard", heard)

    def from_main(self, value: Any) -> Any:
        return self.__dict__["heard"]


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


# ------------------------------------------------------------------ damage to any file


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = random.Random(path.name).randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


@pytest.fixture(scope="module")
def finished_runs() -> dict[str, Path]:
    return {}


@pytest.fixture
def whole(
    flags: dict[str, Any], finished_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output folder of an undisturbed run, made once."""
    if "whole" not in finished_runs:
        folder = tmp_path_factory.mktemp("whole") / "out"
        assert train(build(TrainOptions, {**flags, "output_dir": str(folder)})) == 0
        finished_runs["whole"] = folder
    return finished_runs["whole"]


@pytest.mark.parametrize("damage", [cut, empty, flip, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_a_torn_checkpoint_is_passed_over_and_costs_no_bit(
    name: str,
    damage: Callable[[Path], None],
    whole: Path,
    flags: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The run goes on from the checkpoint before and ends with the same bits and lines."""
    output_dir = tmp_path / "out"
    shutil.copytree(whole, output_dir)
    shutil.rmtree(output_dir / "ckpt-6")
    damage(output_dir / "ckpt-4" / name)
    assert train(build(TrainOptions, flags)) == 0
    assert "passing over the damaged checkpoint" in caplog.text
    assert f"ckpt-4: {name}" in caplog.text
    assert "ckpt-2, 2 of 6 updates done" in caplog.text
    for file in ("model.safetensors", OPTIMIZER):
        pair = (folder / "ckpt-6" / file for folder in (whole, output_dir))
        first, second = (path.read_bytes() for path in pair)
        assert first == second
    steps = [json.loads(line)["step"] for line in (output_dir / "metrics.jsonl").open()]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert folders.find_fault(output_dir / "ckpt-4") is None  # taken again, and replaced
