"""Sentences by line break or by punctuation."""

import pytest

from s2s_ft.evaluation.sentences import first_sentence, plain_lines, split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("one . two . three", ["one .", "two .", "three"]),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("Tools, e.g. this one. More.", ["Tools, e.g. this one.", "More."]),
        ("Version 2.5 of foo.py is out. Yes", ["Version 2.5 of foo.py is out.", "Yes"]),
        ("第一句。第二句！完", ["第一句。", "第二句！", "完"]),  # noqa: RUF001
        ("यह है। वह है।", ["यह है।", "वह है।"]),
        ("A. B\nC. D", ["A. B", "C. D"]),
        ("a b [X_SEP] c d[X_SEP]e", ["a b", "c d", "e"]),
        ("", []),
        (" [X_SEP] \n", []),
    ],
)
def test_split(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_first_sentence_ends_at_a_line_break_or_a_full_stop() -> None:
    assert first_sentence("One two. Three") == "One two."
    assert first_sentence("One two\nthree. Four") == "One two"
    assert first_sentence("") == ""


def test_every_kind_of_line_break_becomes_one_newline() -> None:
    assert plain_lines("a\r\nb\u2028c [X_SEP] d\x0be \n\n") == "a\nb\nc\nd\ne"
