"""Which checkpoints there are, which can be trusted, and which may go."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from s2s_ft.cli import EnvironmentFault
from s2s_ft.storage.checkpoint_record import FORMAT, RECORD, find_fault
from s2s_ft.train.checkpoint import (
    BEST,
    OPTIMIZER,
    checkpoint_folders,
    newest_valid,
    prepare_output_folder,
    prune,
    read_optimizer,
    remove_checkpoints,
    save_optimizer,
)
from s2s_ft.train.folders import commit


def write_some(folder: Path) -> None:
    save_file({"weight": torch.arange(6.0)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}", encoding="utf-8")


def save(output_dir: Path, name: str) -> Path:
    return commit(output_dir / name, write_some, {"format": FORMAT})


def damage(folder: Path) -> None:
    (folder / "config.json").write_text("[]", encoding="utf-8")


@pytest.fixture(autouse=True)
def _all_messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An output folder with checkpoints of updates 5, 10 and 15, and a best model."""
    for name in ("ckpt-5", "ckpt-10", "ckpt-15", BEST):
        save(tmp_path, name)
    return tmp_path


def names(output_dir: Path) -> list[str]:
    return sorted(path.name for path in output_dir.iterdir())


def test_newest_goes_by_number_not_by_name(run: Path) -> None:
    save(run, "ckpt-100")
    assert newest_valid(run) == run / "ckpt-100"
    assert [folder.name for folder in checkpoint_folders(run)][1:] == [
        "ckpt-15",
        "ckpt-10",
        "ckpt-5",
    ]


def test_no_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "ckpt-final").mkdir()
    (tmp_path / "ckpt-7").write_text("a file", encoding="utf-8")
    assert newest_valid(tmp_path) is None
    assert caplog.text == ""


def test_the_damaged_are_reported_and_passed_over(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(run / "ckpt-15")
    assert newest_valid(run) == run / "ckpt-10"
    assert "passing over the damaged checkpoint" in caplog.text
    assert "ckpt-15: config.json has not the recorded checksum" in caplog.text


def test_none_is_whole(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    for folder in checkpoint_folders(run):
        damage(folder)
    assert newest_valid(run) is None
    assert "no whole checkpoint left: the run starts anew" in caplog.text


def test_a_folder_of_the_original_toolkit_is_passed_over(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (run / "ckpt-20").mkdir()
    (run / "ckpt-20" / "pytorch_model.bin").write_bytes(b"")
    assert newest_valid(run) == run / "ckpt-15"
    assert "ckpt-20: it holds no checkpoint of this toolkit" in caplog.text
    assert "damaged" not in caplog.text


def test_a_damaged_checkpoint_is_replaced(run: Path) -> None:
    (run / "ckpt-15" / "config.json").unlink()
    save(run, "ckpt-15")
    assert newest_valid(run) == run / "ckpt-15"
    assert len(list(run.iterdir())) == 4


def test_what_an_interrupted_save_left_is_put_right(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is whole and has no better copy is kept, the rest goes."""
    for name in ("ckpt-20.tmp", "ckpt-15.old", "best.old", "ckpt-5.removed"):
        shutil.copytree(run / "ckpt-15", run / name)
    shutil.copytree(run / "ckpt-15", run / "ckpt-25.tmp")
    (run / "ckpt-25.tmp" / RECORD).unlink()
    (run / "ckpt-20.tmp.txt").write_text("mine", encoding="utf-8")
    for name in ("train_options.json", "metrics.jsonl", "samples.jsonl"):
        (run / f".{name}.77.partial").touch()
    prepare_output_folder(run)
    assert names(run) == sorted(
        ["best", "ckpt-5", "ckpt-10", "ckpt-15", "ckpt-20", "ckpt-20.tmp.txt"]
    )
    assert newest_valid(run) == run / "ckpt-20"
    assert "ckpt-20.tmp, which is whole: it is kept" in caplog.text
    assert caplog.text.count("removing") == 4


def test_an_unwritable_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EnvironmentFault, match=r"--output_dir .* cannot be written"):
            prepare_output_folder(folder)


def test_removing_leaves_everything_else(run: Path) -> None:
    (run / "notes").mkdir()
    remove_checkpoints(run)
    assert names(run) == ["notes"]


@pytest.mark.parametrize(("keep", "left"), [(0, 3), (1, 1), (2, 2), (3, 3), (9, 3)])
def test_only_the_newest_are_kept(keep: int, left: int, run: Path) -> None:
    prune(run, keep)
    assert [folder.name for folder in checkpoint_folders(run)] == ["ckpt-15", "ckpt-10", "ckpt-5"][
        :left
    ]
    assert (run / BEST).is_dir()
    assert len(list(run.iterdir())) == left + 1


def test_the_newest_whole_one_is_never_deleted(run: Path) -> None:
    damage(run / "ckpt-15")
    prune(run, 1)
    assert names(run) == [BEST, "ckpt-10", "ckpt-15"]
    assert find_fault(run / "ckpt-10") is None
    damage(run / "ckpt-10")
    prune(run, 1)
    assert names(run) == [BEST, "ckpt-10", "ckpt-15"]


def test_what_was_just_saved_is_not_read_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise AssertionError(f"{folder} was read")

    monkeypatch.setattr("s2s_ft.train.checkpoint.find_fault", refuse)
    prune(run, 1, saved=run / "ckpt-15")
    assert names(run) == [BEST, "ckpt-15"]


def test_a_folder_without_a_checkpoint_neither_counts_nor_goes(run: Path) -> None:
    for name in ("ckpt-2", "ckpt-20"):
        (run / name).mkdir()
    prune(run, 2)
    assert names(run) == [BEST, "ckpt-10", "ckpt-15", "ckpt-2", "ckpt-20"]


def test_what_cannot_be_deleted_is_told_about(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(path: Path, _new: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "rename", fail)
    prune(run, 2)
    assert "ckpt-5 could not be removed: Permission denied" in caplog.text


def test_optimizer_state_goes_by_name_and_comes_back_exactly(tmp_path: Path) -> None:
    state = {
        "words.weight": {"exp_avg": torch.randn(3, 2), "step": torch.tensor(7.0)},
        "a/b": {"exp_avg": torch.randn(4).double()},
    }
    save_optimizer(tmp_path, state)
    header = (tmp_path / OPTIMIZER).read_bytes()[8:]
    assert "exp_avg/words.weight" in json.loads(header[: header.index(b"}}") + 2])
    found = read_optimizer(tmp_path)
    assert found.keys() == state.keys()
    for name, kinds in state.items():
        assert found[name].keys() == kinds.keys()
        assert all(torch.equal(found[name][kind], value) for kind, value in kinds.items())
