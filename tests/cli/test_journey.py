"""The whole way as a user goes it: train, decode, rescore, evaluate; and mistakes.

Notable: the journey runs in processes of its own; mistakes run in this one, through the functions
that the commands are, and each must give one line and the documented exit code.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from s2s_ft.commands import decode_main, evaluate_main, train_main

ROOT = Path(__file__).parents[2]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def training(encoder: Path, data: Path, output: Path, *more: object) -> list[object]:
    return [
        *("--train_file", data, "--model_name_or_path", encoder, "--output_dir", output),
        *("--max_source_seq_length", 16, "--max_target_seq_length", 8, "--no_cuda"),
        *("--per_gpu_train_batch_size", 4, "--learning_rate", 1e-3, "--logging_steps", 2),
        *more,
    ]


def test_from_rows_to_scores(
    tiny_checkpoint: Callable[[str], Path], data_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    flags = ("--num_training_epochs", 2, "--save_steps", 5)
    command = training(tiny_checkpoint("bert"), data_file, output, *flags)
    done = run("run_seq2seq.py", *command)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in output.glob("ckpt-*")) == ["ckpt-5", "ckpt-8"]
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert list((output / "tensorboard").iterdir())
    again = run("run_seq2seq.py", *command)
    assert again.returncode == 0, again.stderr
    assert "nothing is left to do" in again.stderr

    checkpoint, best = output / "ckpt-8", tmp_path / "best.txt"
    decoding = ("--model_path", checkpoint, "--input_file", data_file, "--output_file", best)
    done = run("decode_seq2seq.py", *decoding, "--beam_size", 3, "--need_score_traces")
    assert done.returncode == 0, done.stderr
    assert len(best.read_text().splitlines()) == 16
    done = run("-m", "s2s_ft.decode.rescore", "--input", best, "--alpha", 0.9)
    assert done.returncode == 0, done.stderr
    done = run("-m", "s2s_ft.evaluation", "--pred", best, "--gold", data_file)
    assert done.returncode == 0, done.stderr
    assert "ROUGE-L" in done.stdout
    scores = json.loads(Path(f"{best}.scores.json").read_text())
    assert scores


@pytest.mark.parametrize("method", ["causal", "masked"])
def test_the_other_methods(
    method: str, tiny_checkpoint: Callable[[str], Path], data_file: Path, tmp_path: Path
) -> None:
    flags = ("--fine_tuning_method", method, "--num_training_steps", 4)
    words = training(tiny_checkpoint("bert"), data_file, tmp_path / "run", *flags)
    assert train_main([*map(str, words)]) == 0
    best = tmp_path / "best.txt"
    decoding = ("--model_path", tmp_path / "run" / "ckpt-4", "--input_file", data_file, "--no_cuda")
    assert decode_main([*map(str, (*decoding, "--output_file", best, "--beam_size", 2))]) == 0
    assert len(best.read_text().splitlines()) == 16


def with_line(data: Path, folder: Path, line: bytes) -> Path:
    """A copy of the data with a line at its end."""
    path = folder / "bad.jsonl"
    path.write_bytes(data.read_bytes() + line + b"\n")
    return path


ROWS = {
    "bad JSON": (b'{"src": "a", ', "line 17"),
    "no object": (b'["a", "b"]', "line 17"),
    "missing key": (b'{"src": "a"}', "'tgt'"),
    "wrong type": (b'{"src": 7, "tgt": "a"}', "line 17"),
    "wrong item": (b'{"src": ["a", 7], "tgt": "a"}', "line 17"),
    "empty source": (b'{"src": "", "tgt": "a"}', "line 17"),
    "invalid UTF-8": (b'{"src": "\xff", "tgt": "a"}', "line 17"),
    "blank line inside": (b'\n{"src": "a", "tgt": "a"}', "line 17"),
}


@pytest.mark.parametrize("kind", ROWS)
def test_bad_rows(
    tiny_checkpoint: Callable[[str], Path],
    data_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    row, word = ROWS[kind]
    bad = with_line(data_file, tmp_path, row)
    words = training(tiny_checkpoint("bert"), bad, tmp_path / "out")
    assert train_main([*map(str, words)]) == 2
    assert_one_error(capsys, "bad.jsonl", "line 17", word)


def assert_one_error(capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    """The last line on stderr is the one error, and no traceback stands before it."""
    text = capsys.readouterr().err
    errors = [line for line in text.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, text
    assert "Traceback" not in text
    for part in parts:
        assert part in errors[0], errors[0]


MISTAKES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "no such file": (
        ["--train_file", "nowhere.jsonl"],
        ("--train_file nowhere.jsonl", "no such file"),
    ),
    "no such rows to look at": (["--dev_file", "nowhere.jsonl"], ("--dev_file", "no such file")),
    "a table as rows": (["--train_file", "pyproject.toml"], ("--train_file", "line 1", "JSON")),
    "no such config": (["--config_name", "./none"], ("--config_name ./none", "no such folder")),
    "an adapter's rank without one": (["--lora_rank", "8"], ("--lora_rank", "--peft")),
    "more warm-up than updates": (
        ["--num_training_steps", "3", "--num_warmup_steps", "4"],
        ("--num_warmup_steps 4", "--num_training_steps 3"),
    ),
    "two sizes of a batch": (
        ["--global_batch_size", "4", "--gradient_accumulation_steps", "2"],
        ("--global_batch_size", "--gradient_accumulation_steps"),
    ),
    "a folder as file": (["--train_file", "."], ("is a folder",)),
    "no such model": (
        ["--model_name_or_path", "./nowhere"],
        ("--model_name_or_path", "./nowhere"),
    ),
    "rate that is no number": (["--learning_rate", "nan"], ("--learning_rate",)),
    "probability above one": (["--target_mask_prob", "1.5"], ("--target_mask_prob",)),
    "two methods": (
        ["--fine_tuning_method", "causal", "--mask_way", "v2"],
        ("--fine_tuning_method", "--mask_way"),
    ),
    "fp16 on a CPU": (["--fp16"], ("--fp16", "--bf16")),
    "no such config file": (["--config", "nowhere.yaml"], ("nowhere.yaml",)),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_in_training(
    tiny_checkpoint: Callable[[str], Path],
    data_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    flags, parts = MISTAKES[kind]
    words = training(tiny_checkpoint("bert"), data_file, tmp_path / "out", *flags)
    assert train_main([*map(str, words)]) == 2
    assert_one_error(capsys, *parts)


def test_empty_file(
    tiny_checkpoint: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    words = training(tiny_checkpoint("bert"), empty, tmp_path / "out")
    assert train_main([*map(str, words)]) == 2
    assert_one_error(capsys, "empty.jsonl")


def test_unknown_flag_and_exit_code() -> None:
    done = run("run_seq2seq.py", "--trian_file", "x")
    assert done.returncode == 2
    assert "--train_file" in done.stderr
    assert run("decode_seq2seq.py", "--input_file", "x").returncode == 2


def test_output_that_cannot_be_written(
    tiny_checkpoint: Callable[[str], Path],
    data_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    words = training(tiny_checkpoint("bert"), data_file, tmp_path / "file" / "out")
    assert train_main([*map(str, words)]) == 1
    assert_one_error(capsys, "--output_dir")
    for flag, folder in (
        ("--log_dir", tmp_path / "file" / "curves"),
        ("--log_dir", Path("/proc")),  # is there, and no file can be made in it
        ("--cached_train_features_file", tmp_path / "file" / "features"),
    ):
        words = training(tiny_checkpoint("bert"), data_file, tmp_path / "out", flag, folder)
        assert train_main([*map(str, words)]) == 1
        assert_one_error(capsys, f"{flag} {folder} cannot be written")


def test_diverging_training_keeps_the_last_checkpoint(
    tiny_checkpoint: Callable[[str], Path],
    data_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    flags = ("--learning_rate", 1e30, "--max_grad_norm", 0, "--save_steps", 1)
    words = training(tiny_checkpoint("bert"), data_file, output, *flags)
    assert train_main([*map(str, words)]) == 3
    assert_one_error(capsys, "update", "nothing was stepped")
    assert list(output.glob("ckpt-*"))


def test_a_checkpoint_of_an_older_version(
    tiny_checkpoint: Callable[[str], Path],
    data_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "out" / "ckpt-4"
    folder.mkdir(parents=True)
    (folder / "training_state.json").write_text('{"format": 1, "files": {}}', encoding="utf-8")
    words = training(tiny_checkpoint("bert"), data_file, tmp_path / "out")
    assert train_main([*map(str, words)]) == 2
    assert_one_error(capsys, "ckpt-4", "format 1", "--output_dir", "--overwrite_output_dir")


def test_mistakes_in_decoding_and_evaluation(
    tiny_checkpoint: Callable[[str], Path],
    data_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tiny_checkpoint("bert")

    def decode(*words: object) -> int:
        given = ("--model_path", model, "--input_file", data_file, "--no_cuda", *words)
        return decode_main([*map(str, given)])

    assert decode("--model_path", tmp_path / "nowhere") == 2
    assert_one_error(capsys, "--model_path", "no such folder")
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    assert decode("--model_path", broken) == 2
    assert_one_error(capsys, "model.safetensors", "damaged")
    flags = ("--max_tgt_length", 8, "--forbid_duplicate_ngrams", "--forbid_ignore_word", "zzz")
    assert decode(*flags) == 2
    assert_one_error(capsys, "--forbid_ignore_word", "zzz")
    short = tmp_path / "short.txt"
    short.write_text("one line\n", encoding="utf-8")
    assert evaluate_main(["--pred", str(short), "--gold", str(data_file)]) == 2
    assert_one_error(capsys, "short.txt")
