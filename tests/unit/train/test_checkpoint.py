"""Checkpoints: whole or not there, checked before use, restored exactly."""

from __future__ import annotations

import errno
import json
import logging
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from s2s_ft.cli import EnvironmentFault
from s2s_ft.train.checkpoint import (
    OPTIMIZER,
    RANDOM_STATE,
    RECORD,
    checkpoint_folders,
    commit,
    find_fault,
    load_optimizer,
    load_random_state,
    newest_valid,
    prepare_output_folder,
    read_record,
    remove_checkpoints,
    save_optimizer,
    save_random_state,
)
from s2s_ft.train.loop import TrainingData, TrainState, train_step
from s2s_ft.train.optimizer import make_optimizer

CPU = torch.device("cpu")


def write_some(folder: Path) -> None:
    save_file({"weight": torch.arange(6.0)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "sub").mkdir()
    (folder / "sub" / "more.txt").write_text("more", encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An output folder with checkpoints of steps 5, 10 and 15."""
    for step in (5, 10, 15):
        commit(tmp_path, step, write_some, {"step": step})
    return tmp_path


def test_a_checkpoint_holds_what_was_written_and_its_checksums(run: Path) -> None:
    record = read_record(run / "ckpt-15")
    assert record["step"] == 15
    assert set(record["files"]) == {"model.safetensors", "config.json", "sub/more.txt"}
    assert record["files"]["config.json"]["size"] == 2
    assert find_fault(run / "ckpt-15") is None
    modes = {path.stat().st_mode & 0o777 for path in (run / "ckpt-15").rglob("*.*")}
    assert modes == {(run / "ckpt-15").stat().st_mode & 0o666}
    assert [folder.name for folder in checkpoint_folders(run)] == ["ckpt-15", "ckpt-10", "ckpt-5"]
    assert sorted(path.name for path in run.iterdir()) == ["ckpt-10", "ckpt-15", "ckpt-5"]


def test_newest_goes_by_number_not_by_name(run: Path) -> None:
    commit(run, 100, write_some, {"step": 100})
    assert newest_valid(run) == run / "ckpt-100"


def test_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "ckpt-final").mkdir()
    (tmp_path / "ckpt-7").write_text("a file", encoding="utf-8")
    assert newest_valid(tmp_path) is None


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip_a_byte, cut_short, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "sub/more.txt", RECORD])
def test_damage_to_any_file_is_reported_and_passed_over(
    name: str, damage: Callable[[Path], None], run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A record is text for people, too: what matters of it is that it can be understood.
    target = run / "ckpt-15" / name
    if name == RECORD and damage is not Path.unlink:
        target.write_bytes(target.read_bytes()[:40])
    else:
        damage(target)
    assert newest_valid(run) == run / "ckpt-10"
    assert "passing over the damaged checkpoint" in caplog.text
    assert "ckpt-15" in caplog.text
    assert Path(name).name in caplog.text


def test_a_folder_of_the_original_toolkit_is_passed_over(run: Path) -> None:
    (run / "ckpt-20").mkdir()
    (run / "ckpt-20" / "pytorch_model.bin").write_bytes(b"")
    assert newest_valid(run) == run / "ckpt-15"


def test_a_damaged_checkpoint_is_replaced(run: Path) -> None:
    (run / "ckpt-15" / "config.json").unlink()
    commit(run, 15, write_some, {"step": 15})
    assert newest_valid(run) == run / "ckpt-15"
    assert len(list(run.iterdir())) == 3


def test_what_an_interrupted_save_left_is_removed(run: Path) -> None:
    for name in ("ckpt-20.tmp", "ckpt-15.old"):
        shutil.copytree(run / "ckpt-15", run / name)
    (run / "ckpt-20.tmp.txt").write_text("mine", encoding="utf-8")
    prepare_output_folder(run)
    left = {path.name for path in run.iterdir()}
    assert left == {"ckpt-5", "ckpt-10", "ckpt-15", "ckpt-20.tmp.txt"}


def test_an_unwritable_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EnvironmentFault, match=r"--output_dir .* cannot be written"):
            prepare_output_folder(folder)


def test_removing_leaves_everything_else(run: Path) -> None:
    (run / "notes").mkdir()
    remove_checkpoints(run)
    assert [path.name for path in run.iterdir()] == ["notes"]


def test_a_failing_save_leaves_the_earlier_ones(run: Path) -> None:
    def fail(folder: Path) -> None:
        write_some(folder)
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    with pytest.raises(OSError, match="ckpt-20 could not be saved: No space left on device"):
        commit(run, 20, fail, {"step": 20})
    assert newest_valid(run) == run / "ckpt-15"
    assert len(list(run.iterdir())) == 3


def test_a_file_that_cannot_grow(run: Path) -> None:
    """A real failure of the system in the middle of the largest file, as on a full disk."""

    def write(folder: Path) -> None:
        save_file({"weight": torch.zeros(1 << 20)}, folder / "model.safetensors")

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(OSError, match=r"ckpt-20 could not be saved: .*too large"):
            commit(run, 20, write, {"step": 20})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert newest_valid(run) == run / "ckpt-15"
    assert not (run / "ckpt-20.tmp").exists()


def test_optimizer_state_goes_by_name_and_comes_back_exactly(
    tmp_path: Path,
    make_data: Callable[..., TrainingData],
    make_state: Callable[..., TrainState],
) -> None:
    data, state = make_data(), make_state()
    parts = data.micro_batches(torch.arange(4).numpy(), 0)
    train_step(state, parts)
    save_optimizer(tmp_path, state.model, state.optimizer)
    saved = (tmp_path / OPTIMIZER).read_bytes()
    assert b"exp_avg_sq/words.weight" in saved
    other = make_state()
    other.model.load_state_dict(state.model.state_dict())
    load_optimizer(tmp_path, other.model, other.optimizer)
    other.step = state.step
    train_step(state, parts)
    train_step(other, parts)
    for one, two in zip(state.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_optimizer_state_of_what_is_not_trained_is_refused(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    optimizer = make_optimizer(model.named_parameters(), weight_decay=0.0, epsilon=1e-8)
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    save_optimizer(tmp_path, model, optimizer)
    model.bias.requires_grad = False
    fewer = make_optimizer(model.named_parameters(), weight_decay=0.0, epsilon=1e-8)
    with pytest.raises(ValueError, match=r"has a state of bias.*--fix_word_embedding"):
        load_optimizer(tmp_path, model, fewer)


def test_random_state_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(5)
    torch.rand(3)
    save_random_state(tmp_path, CPU)
    wanted = torch.rand(4)
    torch.manual_seed(9)
    load_random_state(tmp_path, CPU)
    assert torch.equal(torch.rand(4), wanted)


def test_nothing_is_pickled(tmp_path: Path) -> None:
    save_random_state(tmp_path, CPU)
    header = (tmp_path / RANDOM_STATE).read_bytes()[8:]
    assert json.loads(header[: header.index(b"}}") + 2])["cpu"]["dtype"] == "U8"


@pytest.fixture(autouse=True)
def _all_messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
