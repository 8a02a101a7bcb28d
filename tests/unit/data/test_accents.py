"""Rows with accents are counted where a tokenizer would strip them."""

from pathlib import Path

import pytest

from s2s_ft.data.accents import accents_report, has_accents
from s2s_ft.data.examples import Example
from s2s_ft.text import TextCodec
from tests.unit.text.small_tokenizers import word_piece


@pytest.mark.parametrize("text", ["é", "e\u0301", "Zürich", "कु", "が"])
def test_marks_that_are_combined_with_letters(text: str) -> None:
    assert has_accents(text)


@pytest.mark.parametrize("text", ["", "e", "ß", "ø", "한국", "中文", "«a» – “b”", "good ❤️", "1️⃣"])
def test_letters_of_their_own_have_none(text: str) -> None:
    assert not has_accents(text)


def test_targets_are_counted_and_rare_ones_are_not() -> None:
    rows = [Example("a", "zug" if line % 10 else "züge", line) for line in range(1, 2001)]
    assert accents_report(iter(rows)).startswith("100 of the first 1,000 targets have accents")
    assert accents_report(rows[:9]) == ""
    assert accents_report([Example("é", "e", 1), Example("a", ["é"], 2)]) == ""
    assert accents_report([]) == ""


@pytest.mark.parametrize(("lower", "strips"), [(True, True), (False, False)])
def test_an_uncased_tokenizer_strips_them(lower: bool, strips: bool, tmp_path: Path) -> None:
    assert TextCodec.load(word_piece(tmp_path), do_lower_case=lower).strips_accents == strips
