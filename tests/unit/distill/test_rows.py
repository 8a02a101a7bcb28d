"""Rows of a teacher's outputs: joined in order, filtered by what each one is, or refused."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.data.examples import read_examples
from s2s_ft.distill.rows import RowsOptions, write_rows

ROWS = [
    {"src": "a long text", "tgt": "a game for linux"},
    {"src": ["two", "tokens"], "tgt": "tokens"},
    {"src": "", "tgt": "nothing"},
    {"src": "another text", "tgt": "the perl library"},
]
OUTPUTS: list[list[tuple[str, float | None, int]]] = [
    [("a game", -2.0, 3), ("a game for linux", -9.0, 4), ("a game", -9.0, 2)],
    [("tokens", -8.0, 1), (" ", -9.0, 0)],
    [("", None, 0)],
    [("python tools", -3.0, 5)],
]

Write = Callable[..., list[dict[str, Any]]]


def outputs_file(path: Path, outputs: list[list[tuple[str, float | None, int]]]) -> str:
    lines = [
        json.dumps(
            {
                "index": index,
                "hypotheses": [
                    {"text": text, "score": total, "log_probability": total, "tokens": tokens}
                    for text, total, tokens in row
                ],
            }
        )
        for index, row in enumerate(outputs)
    ]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that joins ROWS with OUTPUTS, or others, and reads what was written."""
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")

    def joined(
        outputs: list[list[tuple[str, float | None, int]]] = OUTPUTS, **flags: Any
    ) -> list[dict[str, Any]]:
        options = RowsOptions(
            train_file=str(train),
            outputs=outputs_file(tmp_path / "outputs.jsonl", outputs),
            output_file=str(tmp_path / "rows.jsonl"),
            **flags,
        )
        assert write_rows(options) == 0
        lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    return joined


def test_targets_are_the_teachers_best(write: Write) -> None:
    assert write() == [
        {"src": "a long text", "tgt": "a game"},
        {"src": ["two", "tokens"], "tgt": "tokens"},
        {"src": "another text", "tgt": "python tools"},
    ]


def test_a_target_of_tokens_is_compared_as_the_text_it_spells(tmp_path: Path) -> None:
    train, rows = tmp_path / "train.jsonl", tmp_path / "rows.jsonl"
    train.write_text('{"src": "x", "tgt": ["fas", "##t", "tool", "##s"]}\n', encoding="utf-8")
    options = RowsOptions(
        train_file=str(train),
        outputs=outputs_file(tmp_path / "outputs.jsonl", [[("fast tools", None, 2)]]),
        output_file=str(rows),
        min_rouge=99.0,
    )
    assert write_rows(options) == 0
    assert json.loads(rows.read_text(encoding="utf-8"))["tgt"] == "fast tools"


def test_several_outputs_of_a_row_without_doubles(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = write(num_hypotheses=3)
    assert [row["tgt"] for row in found] == ["a game", "a game for linux", "tokens", "python tools"]
    assert "2 empty, 1 twice" in caplog.text


def test_unlikely_outputs_are_left_out(write: Write) -> None:
    # Per token, the end token included: -0.5, -1.8, -3.0; -4.0; -0.5.
    found = write(num_hypotheses=2, min_log_probability=-1.9)
    assert [row["tgt"] for row in found] == ["a game", "a game for linux", "python tools"]
    found = write(num_hypotheses=2, min_log_probability=-1.0)
    assert [row["tgt"] for row in found] == ["a game", "python tools"]


def test_an_output_without_an_end_token_is_not_divided_by_one_more(tmp_path: Path) -> None:
    train, outputs = tmp_path / "train.jsonl", tmp_path / "outputs.jsonl"
    train.write_text('{"src": "x"}\n' * 3, encoding="utf-8")
    said: tuple[dict[str, bool], ...] = ({"finished": False}, {"finished": True}, {})
    with outputs.open("w", encoding="utf-8") as file:
        for index, finished in enumerate(said):
            output = {"text": f"y{index}", "log_probability": -135.445, "tokens": 24, **finished}
            file.write(json.dumps({"index": index, "hypotheses": [output]}) + "\n")
    # Over 24 tokens that is -5.64, over 25 it is -5.42; a file that does not say has end tokens.
    rows = tmp_path / "rows.jsonl"
    options = RowsOptions(
        train_file=str(train),
        outputs=str(outputs),
        output_file=str(rows),
        min_log_probability=-5.5,
    )
    assert write_rows(options) == 0
    kept = [json.loads(line)["tgt"] for line in rows.read_text(encoding="utf-8").splitlines()]
    assert kept == ["y1", "y2"]


def test_outputs_unlike_the_reference_are_left_out(write: Write) -> None:
    assert [row["tgt"] for row in write(num_hypotheses=2, min_rouge=99)] == [
        "a game for linux",
        "tokens",
    ]
    assert len(write(min_rouge=50)) == 2
    assert len(write(min_rouge=0)) == 3


def test_references_can_stay(write: Write) -> None:
    found = write(add_references=True)
    assert found[:3] == [row for row in ROWS if row["src"]]
    assert len(found) == 6


def test_rows_that_training_refuses_are_left_out(tmp_path: Path) -> None:
    train, rows = tmp_path / "train.jsonl", tmp_path / "rows.jsonl"
    train.write_text('{"src": "x", "tgt": "y"}\n{"src": "  ", "tgt": "z"}\n', encoding="utf-8")
    outputs = outputs_file(tmp_path / "o.jsonl", [[("a", -1.0, 1)], [("b", -1.0, 1)]])
    options = RowsOptions(
        train_file=str(train), outputs=outputs, output_file=str(rows), add_references=True
    )
    assert write_rows(options) == 0
    found = [example.target for example in read_examples(rows)]
    assert found == ["y", "a"]


def test_other_keys(tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    train.write_text('{"text": "x", "headline": "y"}\n', encoding="utf-8")
    options = RowsOptions(
        train_file=str(train),
        outputs=outputs_file(tmp_path / "o.jsonl", [[("z", -1.0, 1)]]),
        output_file=str(tmp_path / "rows.jsonl"),
        source_key="text",
        target_key="headline",
    )
    assert write_rows(options) == 0
    row = json.loads((tmp_path / "rows.jsonl").read_text(encoding="utf-8"))
    assert row == {"text": "x", "headline": "z"}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (OUTPUTS[:3], r"--train_file has more rows than the 3 of --outputs"),
        ([*OUTPUTS, OUTPUTS[0]], r"--outputs has more rows than the 4 of --train_file"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    write: Write, outputs: list[list[tuple[str, float | None, int]]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write(outputs)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"no json", "not JSON"),
        (b"[]", "a JSON array, but one JSON object per line is needed"),
        (b'"text"', "holds a string"),
        (b'{"index": 0, "text": "caf\xe9"}', "not UTF-8"),
        (b'{"index": 0}', "no output of decode_seq2seq.py"),
        (b'{"index": 0, "hypotheses": [{"text": 1}]}', "no output of decode_seq2seq.py"),
        (b'{"index": 0, "hypotheses": ["text"]}', "no output of decode_seq2seq.py"),
    ],
)
def test_a_line_that_is_no_output_is_named(
    write: Write, tmp_path: Path, line: bytes, message: str
) -> None:
    write()
    (tmp_path / "outputs.jsonl").write_bytes(line + b"\n")
    options = RowsOptions(
        train_file=str(tmp_path / "train.jsonl"),
        outputs=str(tmp_path / "outputs.jsonl"),
        output_file=str(tmp_path / "never.jsonl"),
    )
    with pytest.raises(ValueError, match=rf"^--outputs .*, line 1: {message}"):
        write_rows(options)
    assert not (tmp_path / "never.jsonl").exists()


def test_packed_outputs_are_read(write: Write, tmp_path: Path) -> None:
    plain = write()
    packed = tmp_path / "outputs.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "outputs.jsonl").read_bytes()))
    options = RowsOptions(
        train_file=str(tmp_path / "train.jsonl"),
        outputs=str(packed),
        output_file=str(tmp_path / "again.jsonl"),
    )
    write_rows(options)
    again = (tmp_path / "again.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in again.splitlines()] == plain


def test_sources_are_not_lost_to_a_key_for_both() -> None:
    with pytest.raises(ValueError, match="--target_key src is the --source_key, too"):
        RowsOptions(train_file="t", outputs="o", output_file="f", target_key="src")


def test_outputs_of_other_rows_are_refused(write: Write, tmp_path: Path) -> None:
    write()
    path = tmp_path / "outputs.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(lines[1] + lines[0] + "".join(lines[2:]), encoding="utf-8")
    options = RowsOptions(
        train_file=str(tmp_path / "train.jsonl"), outputs=str(path), output_file=str(path) + ".new"
    )
    with pytest.raises(ValueError, match="line 1: is the output of row 1, not of 0"):
        write_rows(options)


def test_outputs_of_rows_with_another_id_are_refused(tmp_path: Path) -> None:
    train, outputs = tmp_path / "train.jsonl", tmp_path / "outputs.jsonl"
    labels = (None, 7, "c"), ("a", "7", "d")  # what only one file names, or as text, tells nothing
    for path, column in zip((train, outputs), labels, strict=True):
        rows = [
            {"src": "x", "index": index, "hypotheses": [{"text": "y"}]}
            | ({} if label is None else {"id": label})
            for index, label in enumerate(column)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = RowsOptions(
        train_file=str(train), outputs=str(outputs), output_file=str(tmp_path / "never.jsonl")
    )
    with pytest.raises(ValueError, match="row n of the one belongs to row n of the other") as fault:
        write_rows(options)
    assert str(fault.value).startswith(
        f"--outputs {outputs}, line 3: its id is 'd', but line 3 of --train_file {train} has 'c'"
    )
    assert not (tmp_path / "never.jsonl").exists()


def test_nothing_left_is_told(write: Write) -> None:
    with pytest.raises(ValueError, match=r"nothing is left of it \(1 empty, 3 unlikely\)"):
        write(min_log_probability=-0.01)


@pytest.mark.parametrize(
    "flags",
    [
        {"num_hypotheses": 0},
        {"min_log_probability": 0.5},
        {"min_rouge": 101},
        {"min_rouge": -1},
        {"outputs": " "},
    ],
)
def test_values_out_of_range_are_refused(flags: dict[str, Any]) -> None:
    usual = {"train_file": "a", "outputs": "b", "output_file": "c"}
    with pytest.raises(ValueError, match=f"--{next(iter(flags))}"):
        RowsOptions(**{**usual, **flags})


@pytest.mark.parametrize("name", ["train.jsonl", "outputs.jsonl", "."])
def test_what_is_read_is_not_written_over(write: Write, tmp_path: Path, name: str) -> None:
    write()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    options = RowsOptions(
        train_file=str(tmp_path / "train.jsonl"),
        outputs=str(tmp_path / "outputs.jsonl"),
        output_file=str(tmp_path / name),
    )
    with pytest.raises(ValueError, match=r"--output_file .*: is (what --|a folder)"):
        write_rows(options)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
