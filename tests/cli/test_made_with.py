"""A folder that a script goes on in keeps to what it was made with.

The scripts run for real, except that their Python does nothing: what a stage leaves is put there.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.installed import run_script

# Training fails where it is told to; everything else is done at once.
IDLE_PYTHON = """#!/usr/bin/env bash
if [[ $* == *run_seq2seq.py* ]]; then exit "${TRAINING_ENDS_WITH:-0}"; fi
"""
RUN = "minilm-l12-h384-uncased-pseudo_mask-42"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the user stands: `idle` is an environment, `a` and `b` are encoders, `files` data."""
    for name in ("a", "b", "files", "idle/bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "idle" / "pyvenv.cfg").touch()
    python = tmp_path / "idle" / "bin" / "python"
    python.write_text(IDLE_PYTHON)
    python.chmod(0o755)
    return tmp_path


def recipe(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"VENV": "idle", "GPUS": "0", **environment}
    return run_script(folder, "xsum.sh", "--output", "out", *arguments, **given)


def finished(folder: Path, *arguments: str, **environment: str) -> None:
    done = recipe(folder, *arguments, **environment)
    assert done.returncode == 0, done.stderr


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in (*words, "name another --output")), done.stderr


def test_scores_of_one_model_are_not_those_of_another(folder: Path) -> None:
    finished(folder, MODEL="a")
    assert (folder / "out" / RUN / "trained").exists()
    finished(folder, MODEL="./a/")
    refused(recipe(folder, MODEL="b"), f"MODEL {folder}/a,", f"not with {folder}/b", "made_with")
    refused(recipe(folder, "--dry-run"), "not with microsoft/MiniLM-L12-H384-uncased")
    finished(folder, MODEL="b", SEED="43")


def test_data_of_some_files_are_not_those_of_others(folder: Path) -> None:
    finished(folder, "--from_files", "files", MODEL="a")
    (folder / "out" / "data" / "dataset.json").touch()
    finished(folder, "--from_files", "files/", MODEL="a")
    refused(recipe(folder, "--from_files", "a", SEED="43"), "out/data", f"--from_files {folder}/fi")
    refused(recipe(folder, SEED="43"), "not with none")


def test_a_model_that_nothing_was_made_with_may_be_another(folder: Path) -> None:
    assert recipe(folder, MODEL="b", TRAINING_ENDS_WITH="2").returncode == 2
    finished(folder, MODEL="a")


def train_elsewhere(folder: Path, encoder: str) -> None:
    """What somebody leaves who takes the training line to a cluster."""
    model = folder / "out" / RUN / "model"
    (model / "ckpt-9").mkdir(parents=True)
    options = {"data": {}, "model": {"model_name_or_path": encoder, "config_name": None}}
    (model / "train_options.json").write_text(json.dumps(options, indent=2), encoding="utf-8")
    (model.parent / "trained").touch()


def test_what_was_trained_elsewhere_tells_its_encoder(folder: Path) -> None:
    train_elsewhere(folder, str(folder / "a"))
    finished(folder, MODEL="a")
    refused(recipe(folder, MODEL="b"), f"MODEL {folder}/a,", "train_options.json")


def test_what_does_not_tell_is_not_refused(folder: Path) -> None:
    train_elsewhere(folder, "a")
    finished(folder, MODEL="a")
    (folder / "out" / RUN / "model" / "train_options.json").unlink()
    finished(folder, MODEL="b")
    assert not (folder / "out" / RUN / "made_with").exists()


def test_a_smoke_run_lies_beside_a_folder_with_a_slash(folder: Path) -> None:
    done = run_script(folder, "xsum.sh", "--smoke", "--output", "run/", VENV="idle")
    assert done.returncode == 0, done.stderr
    run_script(folder, "distill.sh", "--smoke", "--output", "small/", VENV="idle")
    assert {path.name for path in folder.glob("*-smoke")} == {"run-smoke", "small-smoke"}
