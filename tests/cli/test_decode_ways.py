"""Every way in and out gives the same bytes: streamed, shared among processes, interrupted."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from s2s_ft.commands import decode_main
from s2s_ft.decode.ways import files as files_way
from s2s_ft.model.pretrained import load_finetuned, save
from s2s_ft.storage.output_file import write_whole
from s2s_ft.text import TextCodec
from tests.cli.decoding import Nursery
from tests.conftest import WORDS

ROOT = Path(__file__).parents[2]
SOURCES = [
    *(" ".join(WORDS[row % 30 : row % 30 + 2 + 5 * row % 11]) for row in range(60)),
    "",
    " ".join(WORDS),
]
# Scores and traces, so that a difference in the last digit would be seen; two rows at a time, so
# that there are many shares.
FLAGS = ["--beam_size", 3, "--batch_size", 2, "--output_format", "jsonl", "--need_score_traces"]


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "ckpt-20"
    path.mkdir()
    model = load_finetuned(str(tiny_checkpoint("bert")))
    model.settings = replace(
        model.settings, method="pseudo_mask", max_source_length=30, max_target_length=12
    )
    save(model, TextCodec.load(tiny_checkpoint("bert")), path)
    return path


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "dev.jsonl"
    lines = [json.dumps({"src": text, "id": f"x{row}"}) for row, text in enumerate(SOURCES)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def command(checkpoint, *flags):
    return [str(each) for each in ["--model_path", checkpoint, "--no_cuda", *flags]]


def start(*arguments, **keywords):
    """A decoding command as a process."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        **keywords,
    )


def write_all_but(this, path, parts):
    """Stands for `write_whole` on a disk that has no room for one file."""
    if path == this:
        raise OSError(28, "No space left on device")
    write_whole(path, parts)


def files(output):
    return [output.read_bytes(), output.with_name(output.name + ".trace.jsonl").read_bytes()]


@pytest.fixture(scope="module")
def whole(checkpoint, rows, tmp_path_factory):
    """Output and traces of one process that nobody disturbs, in plain text too."""
    folder = tmp_path_factory.mktemp("whole")
    flags = ["--input_file", rows, "--output_file", folder / "out"]
    assert decode_main(command(checkpoint, *flags, *FLAGS)) == 0
    return files(folder / "out")


def texts_of(output):
    return [json.loads(line)["hypotheses"][0]["text"] for line in output.decode().splitlines()]


@pytest.mark.parametrize("count", [2, 3])
def test_workers_give_the_same_bytes(checkpoint, rows, whole, tmp_path, count):
    flags = ["--input_file", rows, "--output_file", tmp_path / "out", "--workers", count]
    assert decode_main(command(checkpoint, *flags, *FLAGS)) == 0
    assert files(tmp_path / "out") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.trace.jsonl"]


def test_no_more_workers_start_than_there_are_shares(
    checkpoint, rows, tmp_path, monkeypatch, capsys
):
    counts = []

    class Counted(files_way.Workers):
        def __init__(self, count, *others):
            counts.append(count)
            super().__init__(count, *others)

    monkeypatch.setattr(files_way, "Workers", Counted)
    few = tmp_path / "few.jsonl"
    few.write_text("".join(rows.read_text(encoding="utf-8").splitlines(keepends=True)[:4]))
    flags = ["--input_file", few, "--output_file", tmp_path / "out", "--workers", 8]
    assert decode_main(command(checkpoint, *flags)) == 0
    assert counts == [1]
    assert "--workers 8: 1 of them have work to do" in capsys.readouterr().err


@pytest.mark.parametrize("closed", ["stdin", "stdout"])
def test_a_closed_standard_stream_is_told_of(
    checkpoint, rows, tmp_path, monkeypatch, capsys, closed
):
    monkeypatch.setattr(sys, closed, None)
    code = decode_main(command(checkpoint, "--input_file", rows, "--output_file", "-"))
    assert code == (0 if closed == "stdin" else 1)
    assert decode_main(command(checkpoint, "--interactive")) == 1
    to_file = ["--output_file", tmp_path / "out"]
    assert decode_main(command(checkpoint, "--input_file", rows, *to_file)) == 0
    assert (tmp_path / "out").read_text().count("\n") == len(SOURCES)
    if closed == "stdin":
        assert decode_main(command(checkpoint, "--input_file", "-")) == 1
        assert decode_main(command(checkpoint, "--input_file", "-", *to_file)) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    name = {"stdin": "input", "stdout": "output"}[closed]
    assert {*told} == {f"error: standard {name} is closed: leave it open, or name a file"}


def test_ranks_of_torchrun_give_the_same_bytes(checkpoint, rows, whole, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    flags = ["--input_file", rows, "--output_file", tmp_path / "out", *FLAGS]
    done = start(*launcher, "decode_seq2seq.py", *command(checkpoint, *flags))
    _, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    assert errors.count("62 rows decoded") == 1
    assert files(tmp_path / "out") == whole


def test_a_run_that_is_killed_again_and_again_gives_the_same_bytes(
    checkpoint, rows, whole, tmp_path
):
    """The moments are random; the seed is printed, and S2S_FT_KILL_SEED repeats it."""
    seed = int(os.environ.get("S2S_FT_KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"S2S_FT_KILL_SEED={seed}")
    generator, log, output = random.Random(seed), tmp_path / "log", tmp_path / "out"
    flags = command(checkpoint, "--input_file", rows, "--output_file", output, "--resume", *FLAGS)
    kept = []
    with Nursery() as nursery:
        code, seconds = nursery.run(flags, log)
        assert (code, files(output)) == (0, whole), log.read_text()
        for path in (output, output.with_name("out.trace.jsonl")):
            path.unlink()
        for _ in range(8):
            number = generator.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            after = generator.uniform(0.1, 0.6) * seconds
            code, _ = nursery.run(flags, log, number, after)
            assert code in (-signal.SIGKILL, 128 + number, -signal.SIGTERM, 0), log.read_text()
            if output.exists():  # written last, so all is done, journal or not
                assert files(output) == whole
                break
            assert code != 0, log.read_text()
            journal = tmp_path / "out.journal"
            kept.append(journal.read_bytes().count(b'{"share"') if journal.exists() else 0)
            # One that was hit before it had opened the journal has nothing to say of it.
            if code == 128 + signal.SIGTERM and kept[-1] > max(kept[:-1], default=0):
                assert "the same command with --resume goes on" in log.read_text()
        print(kept)
        assert kept == sorted(kept), "what was done is never lost"
        assert nursery.run(flags, log)[0] == 0, log.read_text()
        assert files(output) == whole
        assert not (tmp_path / "out.journal").exists()


def test_the_output_comes_last(checkpoint, rows, whole, tmp_path, monkeypatch):
    """So whoever sees it, a script or the same run resumed, may rely on the traces beside it."""
    output = tmp_path / "out"
    flags = ["--input_file", rows, "--output_file", output, "--resume", *FLAGS]
    with monkeypatch.context() as patch:
        patch.setattr(files_way, "write_whole", partial(write_all_but, output))
        assert decode_main(command(checkpoint, *flags)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.journal", "out.trace.jsonl"]
    assert decode_main(command(checkpoint, *flags)) == 0
    assert files(output) == whole


@pytest.mark.parametrize("workers", [1, 2])
def test_a_checkpoint_that_is_done_is_not_decoded_with_again(
    checkpoint, rows, whole, tmp_path, monkeypatch, capsys, workers
):
    outputs = [tmp_path / "ckpt-1.dev", tmp_path / "ckpt-2.dev"]
    for output in outputs:
        shutil.copytree(checkpoint, output.with_suffix(""))
    flags = ["--input_file", rows, "--resume", "--workers", workers, *FLAGS[:-1]]
    flags = command(tmp_path / "ckpt-*", *flags)
    with monkeypatch.context() as patch:
        patch.setattr(files_way, "write_whole", partial(write_all_but, outputs[1]))
        assert decode_main(flags) == 1
    assert capsys.readouterr().err.count("62 rows are done and kept in") == 2
    outputs[0].unlink()  # comes again from what its journal holds
    assert decode_main(flags) == 0
    assert capsys.readouterr().err.count(" 0 rows decoded in ") == 2
    assert [output.read_bytes() for output in outputs] == [whole[0]] * 2
    assert not [*tmp_path.glob("*.journal*")]


def test_each_line_is_answered_before_the_next_one_comes(checkpoint, rows, whole):
    process = start("decode_seq2seq.py", *command(checkpoint, "--input_file", "-", *FLAGS[:2]))
    found = []
    for source in SOURCES[:3]:
        process.stdin.write(source + "\n")
        process.stdin.flush()
        found.append(process.stdout.readline())
    process.stdin.write("\n".join(SOURCES[3:]) + "\n")
    process.stdin.close()
    found += process.stdout.readlines()
    assert process.wait() == 0, process.stderr.read()
    assert [line.removesuffix("\n") for line in found] == texts_of(whole[0])
    errors = process.stderr.read()
    assert "62 rows decoded" in errors
    assert "1 rows have an empty source" in errors
    process.stdout.close()
    process.stderr.close()


def test_a_reader_that_goes_away_ends_the_stream_quietly(checkpoint, rows):
    flags = ["--input_file", rows, "--output_file", "-", "--batch_size", 1]
    process = start("decode_seq2seq.py", *command(checkpoint, *flags))
    assert process.stdout.readline()
    process.stdout.close()
    process.stdin.close()
    assert process.wait() == 128 + signal.SIGPIPE
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_trying_a_model_by_hand(checkpoint):
    typed = f"{SOURCES[1]}\n:set num_beams 3\n:set num_beams x\n{SOURCES[1]}\n:quit\nnever\n"
    flags = ("--interactive", "--beam_size", 2, "--num_return_sequences", 2)
    process = start("decode_seq2seq.py", *command(checkpoint, *flags))
    shown, errors = process.communicate(typed)
    assert process.returncode == 0, errors
    first, other, seconds, mistake, second, _, _ = shown.splitlines()
    assert first.startswith("1  ")
    assert other.startswith("2  ")
    assert second.startswith("1  ")
    assert seconds.endswith(" s")
    assert mistake.startswith("error: ")
    assert "num_beams: expected a whole number" in mistake


def test_what_is_typed_may_be_tokens(checkpoint):
    def shown(typed, *flags):
        process = start("decode_seq2seq.py", *command(checkpoint, "--interactive", *flags))
        shown, errors = process.communicate(f"{typed}\n")
        assert process.returncode == 0, errors
        return shown.splitlines()[0]

    assert shown("data ##s linux", "--tokenized_input") != shown("data ##s linux")
    assert shown("data linux", "--tokenized_input") == shown("data linux")


@pytest.mark.parametrize(
    ("data", "flags", "line"),
    [
        ("a b\n\nc\n", [], 0),
        ('{"src": "a b"}\n{"src": 5}\n', [], 2),
        ('{"src": "a b"}\nlinux\n', [], 2),
        ('{"src": "a b", "prefix": 3}\n', [], 1),
        ("a b\n", ["--input_format", "jsonl"], 1),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(checkpoint, tmp_path, capsys, data, flags, line):
    path = tmp_path / "rows"
    path.write_text(data)
    flags = ["--input_file", path, "--output_file", tmp_path / "out", *flags]
    code = decode_main(command(checkpoint, *flags))
    errors = capsys.readouterr().err
    if line:
        assert code == 2
        assert (
            errors.strip().split("\n")[-1].startswith(f"error: --input_file {path}, line {line}: ")
        )
        assert not (tmp_path / "out").exists()
    else:
        assert code == 0, errors
        assert len((tmp_path / "out").read_text().split("\n")) == 4
