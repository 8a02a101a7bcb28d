"""The command line, the log and the exit codes."""

import contextlib
import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from s2s_ft.cli import (
    EnvironmentFault,
    TrainingFault,
    parse,
    run,
    setup_logging,
    standard_input,
    standard_output,
)
from s2s_ft.options import DecodeOptions, TrainOptions

REQUIRED = ["--train_file", "a.jsonl", "--model_name_or_path", "encoder", "--output_dir", "out"]


def train(*arguments: str) -> TrainOptions:
    return parse(TrainOptions, [*REQUIRED, *arguments], "run_seq2seq.py", "Fine-tune.")


def refusal(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """What argparse says when it refuses a training command line."""
    with pytest.raises(SystemExit) as stop:
        parse(TrainOptions, arguments, "run_seq2seq.py", "Fine-tune.")
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("usage: run_seq2seq.py --train_file")
    return text


def raising(fault: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise fault

    return main


def test_flags_reach_their_groups() -> None:
    options = train("--learning_rate", "1e-4", "--fp16", "--mask_way", "v0", "--seed=3")
    assert options.optimization.learning_rate == 1e-4
    assert options.runtime.fp16
    assert options.model.method == "causal"
    assert options.runtime.seed == 3
    assert options.checkpoint.save_steps == 1500


def test_two_flags_are_enough_to_decode() -> None:
    arguments = ["--model_path", "out/ckpt-6", "--input_file", "test.jsonl"]
    options = parse(DecodeOptions, arguments, "decode_seq2seq.py", "")
    assert (options.model.model_path, options.data.input_file) == ("out/ckpt-6", "test.jsonl")
    assert options.model.tokenizer_name is None
    assert options.search.beam_size is None  # the checkpoint may know better
    assert options.search.filled({}).beam_size == 1


@pytest.mark.parametrize("rank", [["--local_rank", "0"], ["--local-rank", "0"], ["--local-rank=0"]])
def test_the_rank_has_two_spellings(rank: list[str]) -> None:
    assert train(*rank).runtime.local_rank == 0


@pytest.mark.parametrize("number", ["-1", "-1.0", "-.5", "-1e-3", "-5E2"])
@pytest.mark.parametrize("joint", [" ", "="])
def test_negative_numbers_are_values(number: str, joint: str) -> None:
    options = train(*f"--source_mask_prob{joint}{number}".split(" "), "--num_training_steps", "-1")
    assert options.corruption.source_mask_prob == float(number)
    assert options.optimization.num_training_steps == -1


def test_the_last_of_a_repeated_flag_counts() -> None:
    assert train("--seed", "1", "--seed", "2").runtime.seed == 2
    assert not train("--fp16", "--fp16=false").runtime.fp16
    assert train("--fp16=false", "--fp16=true").runtime.fp16


def test_any_model_type_is_taken_as_the_encoder_tells_its_own() -> None:
    for name in ("bert", "BERT", "minilm", "roberta", "xlm-roberta", "unilm", "electra", "other"):
        assert train("--model_type", name).model.model_type == name


def test_an_unknown_flag_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    text = refusal(capsys, [*REQUIRED, "--learning_rat", "1"])
    assert "unknown flag --learning_rat (did you mean --learning_rate?)" in text
    assert "did you mean --num_training_steps?" in refusal(capsys, ["--num-training-steps=4"])
    assert "unknown flag --zzz\n" in refusal(capsys, ["--zzz"])


def test_flags_cannot_be_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown flag --num_warmup " in refusal(capsys, [*REQUIRED, "--num_warmup", "3"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["required", "--train_file", "--model_name_or_path", "--output_dir"]),
        ([*REQUIRED[:-2]], ["required: --output_dir"]),
        ([*REQUIRED, "--mask_way", "v3"], ["--mask_way", "v3", "v0"]),
        ([*REQUIRED, "--seed", "x"], ["--seed", "x"]),
        ([*REQUIRED, "--seed"], ["--seed", "expected one argument"]),
        ([*REQUIRED, "--learning_rate", "fast"], ["--learning_rate", "fast"]),
        ([*REQUIRED, "--fp16", "yes"], ["--fp16 is a switch", "--fp16=true"]),
        ([*REQUIRED, "--fp16=True"], ["--fp16 is a switch", "'=True'", "--fp16=true"]),
        ([*REQUIRED, "train.jsonl"], ["unexpected argument 'train.jsonl'"]),
    ],
)
def test_a_bad_command_line_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    text = refusal(capsys, arguments)
    assert all(word in text for word in words), text


def test_a_flag_without_effect_is_told_once_where_it_is_given(
    caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    train("--lmdb_dtype", "i", "--lmdb_dtype", "h", "--lmdb_cache", "--fp16_opt_level", "O2")
    assert sorted(caplog.messages) == [
        "--lmdb_cache has no effect any more and can be left out",
        "--lmdb_dtype has no effect any more and can be left out",
    ]
    caplog.clear()
    config = tmp_path / "train.yaml"
    config.write_text("lmdb_cache: false\nlmdb_dtype: i\n", encoding="utf-8")
    train("--config", str(config))
    assert caplog.messages == ["--lmdb_dtype has no effect any more and can be left out"]


@pytest.mark.parametrize(
    ("surroundings", "told"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, 1),
        ({"WORLD_SIZE": "2", "RANK": "1"}, 0),
        ({"RANK": "1"}, 1),  # of something else: no launcher has started this
    ],
)
def test_of_several_processes_the_first_one_tells_it(
    surroundings: dict[str, str],
    told: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    train("--lmdb_cache")
    assert len(caplog.messages) == told


@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        (ValueError("--train_file:  bad\nrow"), 2, "error: --train_file: bad row\n"),
        (EnvironmentFault("no GPU"), 1, "error: no GPU\n"),
        (OSError(errno.ENOSPC, "No space left", "f"), 1, "error: [Errno 28] No space left: 'f'\n"),
        (TrainingFault("loss is nan at step 3"), 3, "error: loss is nan at step 3\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (ValueError(), 2, "error: ValueError\n"),
        (SystemExit(2), 2, ""),
        (SystemExit(None), 0, ""),
        (SystemExit("stop"), 1, "stop\n"),
    ],
)
def test_a_fault_becomes_one_line_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], fault: BaseException, code: int, line: str
) -> None:
    assert run(raising(fault)) == code
    assert capsys.readouterr().err == line


def test_a_missing_package_is_the_environments_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(ModuleNotFoundError("No module named 'torch'", name="torch"))) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: No module named 'torch': ")
    assert "requirements.txt" in text


@pytest.mark.parametrize(
    "fault", [KeyError("x"), ModuleNotFoundError("No module", name="s2s_ft.nothing")]
)
def test_our_own_faults_show_where_they_come_from(
    capsys: pytest.CaptureFixture[str], fault: BaseException
) -> None:
    assert run(raising(fault)) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (MemoryError("Unable to allocate 8 GiB"), "out of memory (Unable to allocate 8 GiB): ask "),
        (MemoryError(), "out of memory: ask "),
        (
            RuntimeError("alloc_cpu: can't allocate memory: you\ntried"),
            "out of memory (alloc_cpu: ",
        ),
        (EnvironmentFault("out of memory: lower --x"), "out of memory: lower --x\n"),
    ],
)
def test_want_of_memory_is_one_line(
    capsys: pytest.CaptureFixture[str], fault: BaseException, line: str
) -> None:
    assert run(raising(fault)) == 1
    text = capsys.readouterr().err
    assert text.startswith(f"error: {line}")
    assert text.count("\n") == 1


def test_the_origin_of_a_fault_can_be_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S2S_FT_TRACEBACK", "1")
    assert run(raising(ValueError("x"))) == 2
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert text.endswith("error: x\n")


def test_a_command_returns_its_own_code() -> None:
    assert [run(lambda code=code: code) for code in (0, 3)] == [0, 3]  # type: ignore[misc]


def test_sigterm_unwinds_and_gives_143() -> None:
    unwound: list[str] = []

    def main() -> int:
        with contextlib.ExitStack() as stack:
            stack.callback(unwound.append, "cleaned")
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        return 0

    assert run(main) == 143
    assert unwound == ["cleaned"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_another_handler_of_sigterm_is_left_alone() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:

        def main() -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            return 0

        assert run(main) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_the_log_goes_to_stderr_with_the_time_once(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    setup_logging()
    logging.getLogger("s2s_ft.train").info("rows: %d", 3)
    logging.getLogger("s2s_ft.train").warning("slow")
    logging.getLogger("__main__").info("done")
    logging.getLogger("another").info("not shown")
    captured = capsys.readouterr()
    lines = [line.split(" ", 1) for line in captured.err.splitlines()]
    assert [message for _, message in lines] == ["rows: 3", "warning: slow", "done"]
    assert all(len(time.split(":")) == 3 for time, _ in lines)
    assert captured.out == ""


def test_argv_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run_seq2seq.py", *REQUIRED, "--seed", "9"])
    assert parse(TrainOptions, None, "run_seq2seq.py", "").runtime.seed == 9


def test_closed_standard_streams_end_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stdin", None)
    assert run(lambda: 0) == 0
    assert run(lambda: len(standard_input().read())) == 1
    assert run(lambda: standard_output().write("lost")) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: standard input is closed: leave it open, or name a file",
        "error: standard output is closed: leave it open, or name a file",
    ]


def test_no_file_takes_the_number_of_a_closed_stream() -> None:
    code = "import os; from s2s_ft.cli import run; exit(run(lambda: os.open(os.devnull, 0)))"
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" <&- >&-', sys.executable, code],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
