"""Mistakes in a recipe's arguments and variables: one line each, before anything is done."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.test_recipes import run_recipe


def assert_one_line(done: subprocess.CompletedProcess[str], start: str = "") -> None:
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {start}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--quick"], ["--backbone"], ["--backbone", "gpt2"]], ids=" ".join
)
def test_wrong_arguments_are_one_line(arguments: list[str]) -> None:
    assert_one_line(run_recipe("xsum", *arguments))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("TEMPERATURE", value) for value in ("0", "0.0", "-1", "hot")),
        ("LANGUAGES", "de xx"),
        ("LANGUAGES", "de de"),
        ("TRAIN_LANGUAGES", "en all"),
        ("TRAIN_LANGUAGES", "de"),  # XGLUE has rows to train on in English alone
        ("GPUS", "x"),
        ("GPUS", "-1"),
        ("GPUS", "08"),
        ("PER_DEVICE", "0"),
        ("SEED", "1.5"),
        ("METHOD", "foo"),
        ("FIX_WORD_EMBEDDING", "yes"),
    ],
)
def test_a_wrong_variable_is_one_line_before_anything_is_done(
    tmp_path: Path, name: str, value: str
) -> None:
    done = run_recipe("xglue_qg", "--dry-run", "--output", str(tmp_path / "new"), **{name: value})
    assert_one_line(done, f"{name}={value}: ")
    assert not done.stdout


def test_a_benchmark_of_one_language_has_none_to_choose(tmp_path: Path) -> None:
    done = run_recipe("xsum", "--dry-run", "--output", str(tmp_path), LANGUAGES="de")
    assert_one_line(done, "LANGUAGES=de: this benchmark has one language")
