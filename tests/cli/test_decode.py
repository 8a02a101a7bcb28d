"""Decoding as a user runs it: processes on tiny checkpoints, from the flags to the files."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from s2s_ft.commands import decode_main
from s2s_ft.model.pretrained import load_finetuned, save
from s2s_ft.text import TextCodec
from tests.conftest import WORDS

ROOT = Path(__file__).parents[2]
SOURCES = [
    *(" ".join(WORDS[row : row + 2 + 5 * row % 11]) for row in range(9)),
    "",
    " ".join(WORDS * 2),
    ["linux", "data"],
]


@pytest.fixture(scope="module")
def fine_tuned(tiny_checkpoint, tmp_path_factory):
    """A function that gives a checkpoint as training saves it, by family and method."""
    folder = tmp_path_factory.mktemp("trained")

    def checkpoint(family, method="pseudo_mask"):
        path = folder / family / method / "ckpt-20"
        if not path.exists():
            path.mkdir(parents=True)
            model = load_finetuned(str(tiny_checkpoint(family)))
            model.settings = replace(
                model.settings, method=method, max_source_length=40, max_target_length=12
            )
            save(model, TextCodec.load(tiny_checkpoint(family)), path)
        return path

    return checkpoint


@pytest.fixture
def input_file(tmp_path):
    path = tmp_path / "dev.jsonl"
    path.write_text("".join(json.dumps({"src": src}) + "\n" for src in SOURCES), encoding="utf-8")
    return path


def run(*arguments, folder):
    arguments = [sys.executable, *map(str, arguments)]
    return subprocess.run(arguments, capture_output=True, text=True, cwd=folder, check=False)


def decode(checkpoint, input_file, output, *flags):
    """Decodes in this process; returns the exit code."""
    arguments = ["--model_path", checkpoint, "--input_file", input_file, "--output_file", output]
    return decode_main(
        [str(each) for each in [*arguments, "--no_cuda", "--max_tgt_length", 12, *flags]]
    )


def test_two_flags_are_enough(fine_tuned, input_file, tmp_path):
    checkpoint = fine_tuned("bert")
    flags = ["--model_path", checkpoint, "--input_file", input_file]
    done = run(ROOT / "decode_seq2seq.py", *flags, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "not fine-tuned" not in done.stderr
    assert "12 rows decoded" in done.stderr
    assert "1 rows have an empty source" in done.stderr
    assert "1 sources were cut to 40 tokens, special ones included" in done.stderr
    output = checkpoint.with_name("ckpt-20.dev")
    assert f"output: {output}" in done.stderr
    lines = output.read_text(encoding="utf-8").split("\n")
    assert len(lines) == len(SOURCES) + 1
    assert [not line for line in lines] == [not source for source in SOURCES] + [True]


def test_traces_are_rescored_from_any_folder(fine_tuned, input_file, tmp_path):
    output = tmp_path / "out" / "best"
    flags = ("--beam_size", 3, "--need_score_traces", "--length_penalty", 0.9)
    assert decode(fine_tuned("bert"), input_file, output, *flags) == 0
    done = run("-m", "s2s_ft.decode.rescore", "--input", output, "--alpha", 0.9, folder=ROOT)
    assert done.returncode == 0, done.stderr
    again = output.with_name("best.alp0.9")
    assert again.read_text(encoding="utf-8") == output.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "flag", ["--fp16", "--beam_size=0", "--forbid_ignore_word=?", "--input_file=x"]
)
def test_bad_flags_are_one_line_and_exit_code_2(fine_tuned, input_file, tmp_path, capsys, flag):
    assert decode(fine_tuned("bert"), input_file, tmp_path / "out", flag) == 2
    last = capsys.readouterr().err.strip().split("\n")[-1]
    assert last.startswith("error: ")
    assert flag.split("=")[0] in last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("row", ["{", '{"tgt": "x"}', '{"src": 5}', "[]"])
def test_a_bad_row_is_named_and_exit_code_2(fine_tuned, input_file, tmp_path, capsys, row):
    with input_file.open("a", encoding="utf-8") as stream:
        stream.write(row + "\n")
    assert decode(fine_tuned("bert"), input_file, tmp_path / "out") == 2
    assert f"error: --input_file {input_file}, line {len(SOURCES) + 1}: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_training_folder_is_refused_with_the_newest_checkpoint(
    fine_tuned, input_file, tmp_path, capsys
):
    checkpoint = fine_tuned("bert")
    assert decode(checkpoint.parent, input_file, tmp_path / "out") == 2
    assert str(checkpoint) in capsys.readouterr().err


def test_a_missing_checkpoint_is_refused(input_file, tmp_path, capsys):
    assert decode(tmp_path / "absent", input_file, tmp_path / "out") == 2
    assert "error: --model_path" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_exit_code_1(fine_tuned, input_file, capsys):
    assert decode(fine_tuned("bert"), input_file, input_file / "out") == 1
    assert "error: " in capsys.readouterr().err


def test_a_model_that_was_never_fine_tuned_is_decoded_with_a_warning(
    tiny_checkpoint, input_file, tmp_path, capsys
):
    assert decode(tiny_checkpoint("bert"), input_file, tmp_path / "out") == 0
    assert "was not fine-tuned" in capsys.readouterr().err
    assert len((tmp_path / "out").read_text(encoding="utf-8").splitlines()) == len(SOURCES)


@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("bert", "causal"),
        ("roberta", "masked"),
        ("modernbert", "pseudo_mask"),
        ("unilm", "pseudo_mask"),
    ],
)
def test_the_batch_size_changes_no_hypothesis(fine_tuned, input_file, tmp_path, family, method):
    checkpoint = fine_tuned(family, method)
    flags = ("--beam_size", 3, "--forbid_duplicate_ngrams", "--ngram_size", 2)
    for batch_size in (1, 5, 40):
        output = tmp_path / str(batch_size)
        assert decode(checkpoint, input_file, output, "--batch_size", batch_size, *flags) == 0
    one, *others = ((tmp_path / str(size)).read_text(encoding="utf-8") for size in (1, 5, 40))
    assert others == [one, one]


@pytest.mark.parametrize("flag", ["--mode=l2r", "--pos_shift", "--min_len=8", "--bf16"])
def test_flags_of_the_search_reach_it(fine_tuned, input_file, tmp_path, flag):
    jsonl = ("--output_format", "jsonl")
    assert decode(fine_tuned("bert"), input_file, tmp_path / "plain", *jsonl) == 0
    assert decode(fine_tuned("bert"), input_file, tmp_path / "flag", *jsonl, flag) == 0
    plain, changed = (
        [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]
        for name in ("plain", "flag")
    )
    assert len(plain) == len(changed) == len(SOURCES)
    assert plain != changed or flag == "--min_len=8"
    if flag == "--min_len=8":
        best = [row["hypotheses"][0] for row in changed]
        assert all(each["tokens"] >= 8 for each in best if each["text"])
