"""Which tokens lie inside a word, in three kinds of vocabularies and in those without marks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from s2s_ft.text import NO_MARKS, TextCodec
from s2s_ft.text.marks import word_marks
from tests.unit.text.small_tokenizers import byte_level, sentence_piece, word_piece


def test_word_pieces(tmp_path: Path) -> None:
    codec = TextCodec.load(word_piece(tmp_path))
    marks = codec.word_marks
    assert sorted(codec.tokens(marks.continuing)) == ["##ing", "##s"]
    assert {"walk", "##s", "."} <= {*codec.tokens(marks.open)}
    assert codec.special.sep not in marks.open | marks.continuing


def texts(codec: TextCodec, ids: Iterable[int]) -> set[str]:
    return {codec.tokenizer.decode([each]) for each in ids}


def test_byte_level_tokens(tmp_path: Path) -> None:
    """A byte is a character or nothing, whatever letter it is written as."""
    codec = TextCodec.load(byte_level(tmp_path))
    marks = codec.word_marks
    continuing = texts(codec, marks.continuing)
    assert {"a", "z", "0"} <= continuing
    assert all(text[0].isalnum() and ord(text[0]) < 0x3000 for text in continuing)
    assert any(text.startswith(" ") for text in texts(codec, marks.open - marks.continuing))
    assert not {".", "!", " "} & texts(codec, marks.open)


def test_sentence_pieces(tmp_path: Path) -> None:
    codec = TextCodec.load(sentence_piece(tmp_path))
    marks = codec.word_marks
    continuing, open_tokens = (
        {*codec.tokens(ids)} for ids in (marks.continuing, marks.open - marks.continuing)
    )
    assert {"e", "é"} & continuing
    assert not [token for token in continuing if token.startswith("▁")]
    assert any(token.startswith("▁") for token in open_tokens)
    assert not {".", ",", "日", "日本語", "▁"} & (continuing | open_tokens)


@pytest.mark.parametrize("word", ["a", "日"])
def test_a_vocabulary_without_marks(word: str) -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, word: 1, f"{word}b": 2}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert word_marks(tokenizer, tokenizer.get_vocab()) == NO_MARKS


def test_added_tokens_are_words_of_their_own(tmp_path: Path) -> None:
    codec = TextCodec.load(sentence_piece(tmp_path)).with_tokens(["covid"])
    assert codec.token_id("covid") not in codec.word_marks.continuing
