"""Sources that are tokens already (`--tokenized_input`): looked up, never cut."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.commands import decode_main
from s2s_ft.decode.lines.rows import read_rows
from s2s_ft.options.decode import DecodeDataOptions

TOKENS = ["data", "##s", "Python", "linux"]


def write(path: Path, *sources: Any) -> Path:
    rows = [source if path.suffix == ".txt" else json.dumps({"src": source}) for source in sources]
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def sources(path: Path, *, tokenized: bool) -> list[str | list[str]]:
    options = DecodeDataOptions(input_file=str(path), tokenized_input=tokenized)
    return [row.source for row in read_rows(options)]


@pytest.mark.parametrize("ending", ["txt", "jsonl"])
def test_spaces_divide_tokens(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"in.{ending}", " ".join(TOKENS), "a  b ", "")
    assert sources(path, tokenized=True) == [TOKENS, ["a", "b"], []]
    assert sources(path, tokenized=False) == [" ".join(TOKENS), "a  b ", ""]


def test_lists_stay_lists(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", TOKENS, ["a b"])
    assert sources(path, tokenized=True) == sources(path, tokenized=False) == [TOKENS, ["a b"]]


def test_decoding_reads_them_as_it_reads_lists(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    def decode(name: str, source: Any, *flags: str) -> str:
        rows, output = write(tmp_path / f"{name}.jsonl", source), tmp_path / f"{name}.out"
        command = ["--model_path", str(tiny_checkpoint("bert")), "--input_file", str(rows)]
        command += ["--output_file", str(output), "--output_format", "jsonl", "--no_cuda"]
        assert decode_main([*command, "--max_tgt_length", "6", *flags]) == 0
        return output.read_text(encoding="utf-8")

    as_list = decode("list", TOKENS)
    assert decode("text", " ".join(TOKENS), "--tokenized_input") == as_list
    assert decode("cut", " ".join(TOKENS)) != as_list
