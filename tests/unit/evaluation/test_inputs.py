"""Files of predictions and references: every form that is read, every fault that is named."""

import gzip
import json
from pathlib import Path

import pytest

from s2s_ft.evaluation.inputs import has_key, read_predictions, read_texts


def write(folder: Path, name: str, content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return str(path)


@pytest.mark.parametrize("name", ["p", "p.txt", "p.txt.gz"])
def test_plain_text_keeps_empty_lines(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, "a b\n\nc\u2028d\r\n\n")
    assert read_predictions(path) == ["a b", "", "c\u2028d", ""]


@pytest.mark.parametrize("name", ["p.csv", "p.TSV.gz"])
def test_a_table_is_told_to_be_read_line_by_line(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_predictions(write(tmp_path, name, "id,text\n1,a\n")) == ["id,text", "1,a"]
    assert "is a table by its name" in caplog.text


def test_what_is_packed_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n'))
    assert read_predictions(str(path)) == ["a"]
    named = tmp_path / "p.gz"
    named.write_text("a\n", encoding="utf-8")
    assert read_predictions(str(named)) == ["a"]


def test_a_byte_order_mark_and_a_missing_last_newline_do_not_matter(tmp_path: Path) -> None:
    assert read_predictions(write(tmp_path, "p", "\ufeffa\nb")) == ["a", "b"]


@pytest.mark.parametrize("name", ["p.jsonl", "p.json.gz", "out.test"])
@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "a b"}, {"text": ""}],
        [{"pred": ["a", "b"]}, {"pred": []}],
        [
            {"index": 7, "hypotheses": [{"text": "a b", "score": -1.0}, {"text": "c"}]},
            {"index": 8, "hypotheses": []},
        ],
        [{"id": "x", "src": "s", "hypotheses": ["a b"]}, {"hypotheses": [{"text": ""}]}],
    ],
)
def test_json_lines_of_predictions(tmp_path: Path, name: str, rows: list[object]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    assert read_predictions(write(tmp_path, name, lines)) == ["a b", ""]


def test_generated_json_is_plain_text(tmp_path: Path) -> None:
    path = write(tmp_path, "p", '{"answer": 1}\n{"answer": 2}\n')
    assert read_predictions(path) == ['{"answer": 1}', '{"answer": 2}']
    brackets = "[" * 100_000
    assert read_predictions(write(tmp_path, "p", f"{brackets}\na\n")) == [brackets, "a"]


@pytest.mark.parametrize(
    "lists",
    [
        [["fas", "##t", "tools"], ["tool", "##s"]],
        [["▁fas", "t", "▁tools"], ["tool", "s"]],
        [["fas", "t", "Ġtools"], ["tools"]],
    ],
)
def test_lists_of_tokens_are_the_texts_that_they_spell(
    tmp_path: Path, lists: list[list[str]]
) -> None:
    """Of which kind they are is told by all together: a single word may have no mark."""
    lines = "".join(json.dumps({"tgt": value}) + "\n" for value in [*lists, "as ##it is"])
    path = write(tmp_path, "d.jsonl", lines)
    assert read_texts(path, ("tgt",), flag="--gold") == ["fast tools", "tools", "as ##it is"]


@pytest.mark.parametrize("other", ["Ħamrun u Żejtun", "iswed kbir", "Kelb iswed"])
def test_words_may_begin_with_what_is_a_mark_elsewhere(tmp_path: Path, other: str) -> None:
    texts = ["Il- Ġimgħa", other, "Kelb"]
    lines = "".join(json.dumps({"tgt": text.split(" ")}) + "\n" for text in texts)
    assert read_texts(write(tmp_path, "d.jsonl", lines), ("tgt",), flag="--gold") == texts


def test_references_come_from_a_data_file(tmp_path: Path) -> None:
    path = write(tmp_path, "d.jsonl.gz", '{"src": "s", "tgt": ["a", "b"]}\n{"tgt": "c"}\n\n')
    assert read_texts(path, ("tgt",), flag="--gold") == ["a b", "c"]
    assert has_key(path, "src", flag="--gold")
    assert not has_key(path, "source", flag="--gold")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p", "", r"p: the file is empty"),
        ("p.jsonl", "\n\n", r"p.jsonl: the file is empty"),
        ("p", b"a\nb\xff\n", r"p, line 2: not UTF-8 \(byte 2"),
        ("p.jsonl", '{"text": "a"}\n{"text"\n', r"line 2: not JSON"),
        ("p.jsonl", '{"text": "a"}\n' + "[" * 100_000, r"line 2: not JSON"),
        ("p.jsonl", '{"text": "a"}\n{"text": "b \\ud83d"}\n', r"line 2: 'text' holds half a char"),
        ("p.jsonl", '{"text": "a"}\n[1]\n', r"line 2: holds a list"),
        ("p.jsonl", '{"tgt": "a"}\n', r"line 1: no key .*`text`; it has tgt"),
        ("p.jsonl", '{"text": null}\n', r"line 1: `text` holds no text"),
        ("p.jsonl", '{"text": 1}\n', r"line 1: 'text' is a number"),
        ("p.jsonl", '{"text": ["a", 1]}\n', r"line 1: 'text' is a list that holds a num"),
        ("p.jsonl", '{"hypotheses": "a"}\n', r"line 1: `hypotheses` is no list"),
        ("p.jsonl", '{"hypotheses": [{"score": 1}]}\n', r"line 1: `hypotheses` holds no text"),
        ("p.jsonl", '{"text": "a"}\n\n{"text": "b"}\n', r"line 2: the line is blank"),
        (
            "p.jsonl",
            '{"index": 0, "hypotheses": []}\n{"index": 2, "hypotheses": []}\n',
            r"line 2: `index` is 2 where 1 comes next",
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as fault:
        read_predictions(path)
    assert str(fault.value).startswith(f"--pred {path}")


def test_missing_files_folders_and_broken_archives_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--gold .*there is no such file"):
        read_texts(str(tmp_path / "none"), ("tgt",), flag="--gold")
    with pytest.raises(ValueError, match="is a folder"):
        read_predictions(str(tmp_path))
    broken = tmp_path / "p.gz"
    broken.write_bytes(gzip.compress(b"some text\n")[:-9])
    with pytest.raises(ValueError, match=r"--pred .*the gzip data is damaged"):
        read_predictions(str(broken))
