"""A run tells of text that its tokenizer cannot read or write."""

import json
from pathlib import Path

import pytest

from tests.unit.train.runs import Train


def test_text_that_the_encoder_cannot_read_is_told_of(
    run: Train, data_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = data_file.read_text(encoding="utf-8")
    row = json.dumps({"src": "\u6211 \u6211", "tgt": "\u6211"}) + "\n"
    data_file.write_text(text + row * 4, encoding="utf-8")
    assert run() == 0
    assert "the tokenizer has no token for" in caplog.text


def test_accents_that_the_tokenizer_strips_are_told_of(
    run: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "accents.jsonl"
    data.write_text('{"src": "a system", "tgt": "é"}\n' * 8, encoding="utf-8")
    assert run(train_file=str(data)) == 0
    assert f"{data}: 8 of the first 8 targets have accents" in caplog.text
