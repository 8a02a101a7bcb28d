"""--overwrite_output_dir removes checkpoints and logs of the run, and nothing it is made from."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.cli import EnvironmentFault
from tests.unit.train.runs import Train, checkpoints, metrics


@pytest.fixture
def first(run: Train, output_dir: Path) -> Path:
    """The output folder of a run that has ended, with a best model."""
    shutil.copytree(_trained(run, output_dir) / "ckpt-4", output_dir / "best")
    return output_dir


def _trained(run: Train, output_dir: Path) -> Path:
    assert run(num_training_steps=4, save_steps=2) == 0
    return output_dir


@pytest.mark.parametrize("flag", ["model_name_or_path", "teacher_model", "tokenizer_name"])
@pytest.mark.parametrize("name", ["ckpt-2", "best"])
def test_a_run_does_not_remove_what_it_is_made_from(
    flag: str, name: str, run: Train, first: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(first)
    changes: dict[str, Any] = {flag: str(link / name), "num_training_steps": 4}
    if flag != "tokenizer_name":
        with pytest.raises(ValueError, match=rf"cannot resume .*--{flag}") as caught:
            run(**changes)
        assert "name another --output_dir" in str(caught.value)
        assert "--overwrite_output_dir" not in str(caught.value)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    with pytest.raises(ValueError, match=rf"--overwrite_output_dir .*{name}.*--{flag} .*link"):
        run(overwrite_output_dir=True, **changes)
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before


def test_a_checkpoint_that_is_a_link_is_not_removed_from_under_a_run(
    run: Train, first: Path, tmp_path: Path
) -> None:
    shutil.move(first / "ckpt-2", tmp_path / "moved")
    (first / "ckpt-2").symlink_to(tmp_path / "moved")
    with pytest.raises(ValueError, match="--overwrite_output_dir would remove"):
        run(overwrite_output_dir=True, model_name_or_path=str(first / "ckpt-2"))
    assert run(overwrite_output_dir=True, num_training_steps=1, num_warmup_steps=0) == 0
    assert checkpoints(first) == {"ckpt-1"}
    assert (tmp_path / "moved" / "model.safetensors").exists()


def test_a_folder_without_a_checkpoint_stays(
    run: Train, first: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (first / "ckpt-77").mkdir()
    (first / "ckpt-77" / "notes").write_text("mine", encoding="utf-8")
    (first / "ckpt-4" / "training_state.json").unlink()  # damaged, but a checkpoint
    assert run(overwrite_output_dir=True, num_training_steps=3, keep_checkpoints=1) == 0
    assert checkpoints(first) == {"ckpt-3", "ckpt-77"}
    assert (first / "ckpt-77" / "notes").exists()
    assert "ckpt-77 is left alone: it holds no checkpoint" in caplog.text


def test_what_cannot_be_removed_is_named(
    run: Train, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, _new: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(EnvironmentFault, match=r"--overwrite_output_dir: .*best .*Permission deni"):
        run(overwrite_output_dir=True)


def test_only_curves_are_removed_from_the_folder_of_curves(run: Train, output_dir: Path) -> None:
    notes = output_dir / "notes"
    for folder, left in ((notes, 2), (output_dir / "curves", 1)):
        run(log_dir=str(folder), num_training_steps=2, overwrite_output_dir=True)
        (notes / "mine").write_text("mine", encoding="utf-8")
        old = next(folder.glob("events.*"))
        old.rename(old.with_name("events.out.tfevents.1.old"))
        run(log_dir=str(folder), num_training_steps=2, overwrite_output_dir=True)
        assert len(list(folder.iterdir())) == left
        assert not (folder / "events.out.tfevents.1.old").exists()
    assert (notes / "mine").exists()


# ------------------------------------------------------------------ starts by a launcher


def again(run: Train, **flags: Any) -> int:
    return run(overwrite_output_dir=True, num_warmup_steps=0, **flags)


@pytest.fixture(params=["TORCHELASTIC", "SLURM"])
def launcher(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _quiet_surroundings: None
) -> str:
    """The name that a launcher's variables begin with; it has started the command again."""
    name: str = request.param
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7")
    if name == "SLURM":
        monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(f"{name}_RESTART_COUNT", "1")
    return name


def first_start(monkeypatch: pytest.MonkeyPatch, launcher: str) -> None:
    monkeypatch.setenv(f"{launcher}_RESTART_COUNT", "0")


def test_a_restart_goes_on(
    launcher: str, run: Train, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the command names other files, and a longer run, by then."""
    with monkeypatch.context() as patch:
        first_start(patch, launcher)
        again(run, num_training_steps=2)
    if launcher == "SLURM":  # whose recipe gives each launcher a number of its own
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7.1")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--num_training_steps=4"])
    again(run, num_training_steps=4)
    assert checkpoints(output_dir) == {"ckpt-2", "ckpt-4"}


@pytest.mark.parametrize("place", ["run.prepare", "overwriting.remove_logs"])
def test_a_restart_removes_what_the_first_start_came_not_to(
    place: str,
    launcher: str,
    run: Train,
    output_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.delenv("SLURM_JOB_ID", raising=False)
        patch.delenv("TORCHELASTIC_RUN_ID")
        first_start(patch, launcher)
        again(run, num_training_steps=2)
    with monkeypatch.context() as patch:
        first_start(patch, launcher)
        patch.setattr(f"s2s_ft.train.{place}", killed)
        with pytest.raises(KeyboardInterrupt):
            again(run, num_training_steps=3)
    again(run, num_training_steps=3)
    assert checkpoints(output_dir) == {"ckpt-3"}
    assert [line["step"] for line in metrics(output_dir)] == [2, 3]


def test_restarts_of_another_launch_count_for_nothing(
    launcher: str, run: Train, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was put back into the queue begins the second of its trainings."""
    again(run, num_training_steps=2)
    monkeypatch.setenv({"SLURM": "SLURM_JOB_ID"}.get(launcher, "TORCHELASTIC_RUN_ID"), "8")
    again(run, num_training_steps=3)
    assert checkpoints(output_dir) == {"ckpt-3"}


@pytest.mark.parametrize("doubt", ["launch", "version", "damage"])
def test_in_doubt_a_restart_removes_nothing(
    doubt: str, launcher: str, run: Train, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two launches that give no number; a checkpoint of an older version, or a damaged one."""
    again(run, num_training_steps=2)
    record = output_dir / "ckpt-2" / "training_state.json"
    if doubt == "launch":
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    elif doubt == "version":
        content = json.loads(record.read_text(encoding="utf-8"))
        del content["launch"]
        record.write_text(json.dumps(content), encoding="utf-8")
    else:
        record.write_text("{", encoding="utf-8")
    again(run, num_training_steps=3)
    assert checkpoints(output_dir) == {"ckpt-2", "ckpt-3"}
