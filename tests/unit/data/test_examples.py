"""Reading rows: what is accepted, and the message for everything that is not."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.data.examples import TO_JSON_LINES, Example, read_examples
from s2s_ft.data.files import named_by

GOOD = {"src": "a b", "tgt": "c"}


def rows(*values: object) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write_file(content: bytes, name: str = "data.jsonl") -> Path:
        file = tmp_path / name
        file.write_bytes(content)
        return file

    return write_file


class TestAccepted:
    def test_strings_and_token_lists(self, write: Callable[..., Path]) -> None:
        file = write(rows(GOOD, {"id": 7, "src": ["a", "##b"], "tgt": ["c"]}))
        assert list(read_examples(file)) == [
            Example("a b", "c", 1),
            Example(["a", "##b"], ["c"], 2, label=7),
        ]

    @pytest.mark.parametrize("name", ["data.json", "data.jsonl.gz", "data.json.gz", "data.txt"])
    def test_names_and_gzip(self, name: str, write: Callable[..., Path]) -> None:
        content = rows(GOOD, GOOD)
        file = write(gzip.compress(content) if name.endswith(".gz") else content, name)
        assert [row.line for row in read_examples(str(file))] == [1, 2]

    @pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n \n\n", ""])
    def test_line_ends_and_trailing_blank_lines(
        self, ending: str, write: Callable[..., Path]
    ) -> None:
        file = write((json.dumps(GOOD) + "\r\n" + json.dumps(GOOD) + ending).encode())
        assert len(list(read_examples(file))) == 2

    def test_byte_order_mark(self, write: Callable[..., Path]) -> None:
        assert len(list(read_examples(write(b"\xef\xbb\xbf" + rows(GOOD))))) == 1

    def test_only_a_line_feed_ends_a_row(self, write: Callable[..., Path]) -> None:
        text = "one\u2028two\x85three\x0bfour"
        file = write(json.dumps({"src": text, "tgt": ""}, ensure_ascii=False).encode())
        assert [row.source for row in read_examples(file)] == [text]

    def test_a_key_given_twice_counts_once(self, write: Callable[..., Path]) -> None:
        file = write(b'{"src": "old", "src": "new", "tgt": "t"}\n')
        assert [row.source for row in read_examples(file)] == ["new"]

    def test_other_keys(self, write: Callable[..., Path]) -> None:
        file = write(rows({"article": "a", "summary": "s", "src": 3}))
        found = read_examples(file, source_key="article", target_key="summary")
        assert list(found) == [Example("a", "s", 1)]

    @pytest.mark.parametrize("row", [{"src": "a"}, {"src": "a", "tgt": None}])
    def test_no_target_when_decoding(self, row: object, write: Callable[..., Path]) -> None:
        assert list(read_examples(write(rows(row)), target_required=False)) == [
            Example("a", None, 1)
        ]

    @pytest.mark.parametrize("empty", ["", "  ", []])
    def test_empty_source_when_decoding(self, empty: Any, write: Callable[..., Path]) -> None:
        file = write(rows({"src": empty}))
        found = read_examples(file, target_required=False, allow_empty_source=True)
        assert list(found) == [Example(empty, None, 1)]

    def test_a_pair_of_surrogates_is_a_character(self, write: Callable[..., Path]) -> None:
        file = write(b'{"src": "\\ud83d\\ude00", "tgt": ""}\n')
        assert [row.source for row in read_examples(file)] == ["\U0001f600"]

    def test_limit_reads_no_further(self, write: Callable[..., Path]) -> None:
        file = write(rows(GOOD, GOOD) + b"not json\n")
        assert len(list(read_examples(file, limit=2))) == 2

    def test_rows_come_one_at_a_time(self, write: Callable[..., Path]) -> None:
        stream = read_examples(write(rows(GOOD) + b"not json\n"))
        assert next(stream).line == 1
        with pytest.raises(ValueError, match="line 2"):
            next(stream)


FAULTS = {
    "bad json": (b'{"src": "a", "tgt" "b"}', ["not JSON", "column 20", "one whole JSON object"]),
    "pretty-printed object": (b'{\n"src": "a", "tgt": "b"}', ["not JSON", "one whole JSON object"]),
    "huge number": (b'{"src": ' + b"1" * 5000 + b"}", ["not JSON"]),
    "deep nesting": (b'{"src": ' + b"[" * 100_000, ["not JSON"]),
    "a list": (b'["a", "b"]', ["holds a list", "object"]),
    "a string": (b'"a"', ["holds a string", "object"]),
    "a number": (b"3.5", ["holds a number", "object"]),
    "a truth value": (b"true", ["holds true or false"]),
    "null": (b"null", ["holds null"]),
    "no source": (rows({"text": "a", "tgt": "b"}), ["no 'src'", "'text', 'tgt'", "--source_key"]),
    "no keys": (b"{}", ["no 'src'", "keys here: none"]),
    "no target": (rows({"src": "a", "goal": "b"}), ["no 'tgt'", "'goal'", "--target_key"]),
    "null source": (rows({"src": None, "tgt": "b"}), ["'src' is null", "fill it"]),
    "null target": (rows({"src": "a", "tgt": None}), ["'tgt' is null", "fill it"]),
    "integer source": (rows({"src": 1, "tgt": "b"}), ["'src' is a number", "must be a string"]),
    "float target": (rows({"src": "a", "tgt": 1.5}), ["'tgt' is a number", "must be a string"]),
    "object source": (rows({"src": {}, "tgt": "b"}), ["'src' is an object", "must be a string"]),
    "false target": (rows({"src": "a", "tgt": False}), ["'tgt' is true or false"]),
    "number in list": (
        rows({"src": ["a", 1], "tgt": "b"}),
        ["'src' is a list that holds a number"],
    ),
    "null in list": (rows({"src": [None], "tgt": "b"}), ["'src' is a list that holds null"]),
    "list in list": (rows({"src": "a", "tgt": [["b"]]}), ["'tgt' is a list that holds a list"]),
    "empty source": (rows({"src": "", "tgt": "b"}), ["'src' is empty", "remove the row"]),
    "blank source": (rows({"src": " \n", "tgt": "b"}), ["'src' is empty"]),
    "empty source list": (rows({"src": [], "tgt": "b"}), ["'src' is empty"]),
    "latin-1": ('{"src": "é"}'.encode("latin-1"), ["not UTF-8", "byte 10", "0xe9", "iconv"]),
    "half a character": (b'{"src": "\\ud83d", "tgt": ""}', ["'src' holds half a character"]),
    "blank line": (b" \t\n" + rows(GOOD), ["the line is blank", "remove it"]),
}


class TestFaults:
    @pytest.mark.parametrize(("content", "parts"), FAULTS.values(), ids=FAULTS)
    @pytest.mark.parametrize("line", [1, 3])
    def test_message_names_file_line_and_remedy(
        self, content: bytes, parts: list[str], line: int, write: Callable[..., Path]
    ) -> None:
        if line == 1 and content.startswith(b"["):
            parts = ["JSON array"]  # what a file that begins like this most likely is
        file = write(rows(*[GOOD] * (line - 1)) + content)
        with pytest.raises(ValueError, match=r"data\.jsonl") as fault:
            list(read_examples(file))
        message = str(fault.value)
        assert message.startswith(f"{file}, line {line}: ")
        assert "\n" not in message
        for part in parts:
            assert part in message

    @pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
    def test_empty_file(self, content: bytes, write: Callable[..., Path]) -> None:
        file = write(content)
        with pytest.raises(ValueError, match=r"data\.jsonl: the file holds no rows; give one JSON"):
            list(read_examples(file))

    @pytest.mark.parametrize("indent", [None, 2])
    def test_one_big_array_and_its_conversion(
        self, indent: int | None, write: Callable[..., Path], tmp_path: Path
    ) -> None:
        file = write(json.dumps([GOOD, GOOD], indent=indent).encode(), "data.json")
        with pytest.raises(ValueError, match=r"line 1: a JSON array, but one JSON object") as fault:
            list(read_examples(file))
        assert TO_JSON_LINES in str(fault.value)
        command = TO_JSON_LINES.replace("python", sys.executable, 1)
        command = command.replace("OLD.json", str(file)).replace("NEW.jsonl", str(tmp_path / "new"))
        subprocess.run(command, shell=True, check=True)
        assert [row.source for row in read_examples(tmp_path / "new")] == ["a b", "a b"]

    @pytest.mark.parametrize("content", ["utf-16", "utf-32"])
    def test_other_unicode_encodings(self, content: str, write: Callable[..., Path]) -> None:
        file = write(json.dumps(GOOD).encode(content))
        with pytest.raises(ValueError, match=r"line 1: not UTF-8"):
            list(read_examples(file))

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"nowhere.jsonl: there is no such file; check"):
            list(read_examples(tmp_path / "nowhere.jsonl"))

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is a folder; name the file itself"):
            list(read_examples(tmp_path))

    @pytest.mark.parametrize("damage", [lambda x: x[:-12], lambda x: x[:30] + b"??" + x[32:]])
    def test_damaged_gzip(
        self, damage: Callable[[bytes], bytes], write: Callable[..., Path]
    ) -> None:
        packed = gzip.compress(rows(*({"src": str(i), "tgt": "x"} for i in range(999))))
        file = write(damage(packed), "data.jsonl.gz")
        with pytest.raises(ValueError, match=r"data.jsonl.gz: the gzip data is damaged"):
            list(read_examples(file))

    @pytest.mark.parametrize("limit", [0, -1])
    def test_limit_must_be_positive(self, limit: int, write: Callable[..., Path]) -> None:
        with pytest.raises(ValueError, match="--num_train_examples must be at least 1"):
            list(read_examples(write(rows(GOOD)), limit=limit))


def test_a_flag_is_named_however_its_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text("5\n", encoding="utf-8")
    for name in ("a.jsonl", "./a.jsonl", str(tmp_path / "a.jsonl")):
        with (
            pytest.raises(ValueError, match=r"^--flag .*a\.jsonl, line 1: "),
            named_by("--flag", name),
        ):
            list(read_examples(name))
