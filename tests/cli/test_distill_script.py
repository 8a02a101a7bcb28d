"""`scripts/distill.sh`: the whole way from a tiny teacher, and what is met before it decodes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from s2s_ft.commands import train_main
from tests.cli.installed import REPOSITORY, run_script


@pytest.fixture
def teach(tiny_checkpoint: Callable[[str], Path], data_file: Path, tmp_path: Path) -> Path:
    """A folder with `teacher` (causal, lengths 20 and 6), `train.jsonl` and `test.jsonl` in it."""
    words: tuple[object, ...] = (
        *("--train_file", data_file, "--model_name_or_path", tiny_checkpoint("bert")),
        *("--output_dir", tmp_path / "run", "--fine_tuning_method", "causal", "--no_cuda"),
        *("--max_source_seq_length", 20, "--max_target_seq_length", 6),
        *("--num_training_steps", 1),
    )
    assert train_main([*map(str, words)]) == 0
    shutil.move(tmp_path / "run" / "ckpt-1", tmp_path / "teacher")
    shutil.copy(data_file, tmp_path / "test.jsonl")
    return tmp_path


NAMED = {"TRAIN_FILE": "train.jsonl", "TEST_FILE": "test.jsonl"}
FLAGS = ("--teacher", "teacher", "--output", "small")


def test_a_student_is_like_its_teacher_wherever_the_user_stands(teach: Path) -> None:
    done = run_script(teach, "distill.sh", *FLAGS, "--layers", "0", **NAMED)
    assert done.returncode == 0, done.stderr
    (student,) = (teach / "small" / "model").glob("ckpt-*")
    config = json.loads((student / "config.json").read_text(encoding="utf-8"))
    block = config["s2s_ft"]
    assert (block["method"], block["max_source_length"], block["max_target_length"]) == (
        *("causal", 20, 6),
    )
    assert config["num_hidden_layers"] == 1
    assert (teach / "small" / "student.scores.json").is_file()
    assert not (REPOSITORY / "small").exists()

    (teach / "other.jsonl").write_bytes((teach / "test.jsonl").read_bytes())
    for flags, changed in (
        (("--layers", "1"), {}),
        (("--layers", "0"), {"TEST_FILE": "other.jsonl"}),
        (("--layers", "0"), {"TRAIN_FILE": "other.jsonl"}),
        (("--layers", "0", "--teacher", "small"), {}),
    ):
        refused = run_script(teach, "distill.sh", *FLAGS, *flags, **{**NAMED, **changed})
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        (name,) = changed or {flags[-2]}
        assert f"was made with {name} " in refused.stderr


def spoil_the_block(folder: Path, **values: object) -> None:
    path = folder / "teacher" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"s2s_ft": config["s2s_ft"] | values}), encoding="utf-8")


def spoil_nothing(_folder: Path) -> None:
    """Data and teacher are as they should be."""


def without_lengths(folder: Path) -> None:
    spoil_the_block(folder, max_source_length=None)


def only_pretrained(folder: Path) -> None:
    spoil_the_block(folder, pretrained_only=True)


def without_a_target(folder: Path) -> None:
    with (folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"src": "a"}\n')


def without_a_test(folder: Path) -> None:
    (folder / "test.jsonl").unlink()


@pytest.mark.parametrize(
    ("spoil", "layers", "words"),
    [
        (without_lengths, "0", ("--teacher", "lengths", "s2s_ft.convert")),
        (only_pretrained, "0", ("--teacher", "no fine-tuned checkpoint")),
        (without_a_target, "0", ("TRAIN_FILE", "train.jsonl, line 17", "'tgt'")),
        (without_a_test, "0", ("TEST_FILE", "test.jsonl", "no such file")),
        (spoil_nothing, "0,9", ("--layers", "no layer 9")),
    ],
)
def test_what_is_wrong_is_met_before_the_teacher_decodes(
    teach: Path, spoil: Callable[[Path], None], layers: str, words: tuple[str, ...]
) -> None:
    spoil(teach)
    done = run_script(teach, "distill.sh", *FLAGS, "--layers", layers, **NAMED)
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert all(word in line for word in words), line
    assert "Traceback" not in done.stderr
    assert "outputs of the teacher" not in done.stderr
