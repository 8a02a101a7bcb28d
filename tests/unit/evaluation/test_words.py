"""Words of many scripts: as rouge-score on ASCII text, and never lost elsewhere."""

import random

import pytest
from rouge_score.tokenizers import DefaultTokenizer

from s2s_ft.evaluation.words import UnicodeTokenizer, first_words, scoring_words, split_words

ALPHABET = (
    "ab Z9_-.'\t中文。のｱﾞＡ가각กำไ่éÉe\u0301\u0301İΣς\u200b\u200d\u00ad™²कि़ेم\u064eЖй\u0306❤\ufe0f𠮷"
)


@pytest.mark.parametrize("stem", [True, False])
def test_ascii_text_gives_the_words_of_rouge_score(stem: bool) -> None:
    generator = random.Random(1)
    ours, theirs = UnicodeTokenizer(stem=stem), DefaultTokenizer(use_stemmer=stem)
    texts = ["".join(map(chr, generator.choices(range(128), k=80))) for _ in range(300)]
    texts += ["Running runners ran quickly; FLIES denied_it's 1990s x86-64 C++ a", "", " \n"]
    for text in texts:
        assert ours.tokenize(text) == theirs.tokenize(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Чтение, запись!", ["чтение", "запись"]),
        ("플러그인을 가질 수", ["플러그인을", "가질", "수"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("مرحبا، بالعالم؟", ["مرحبا", "بالعالم"]),
        ("DVDの表示", ["dvd", "の", "表", "示"]),
        ("我爱北京。", ["我", "爱", "北", "京"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("Café naïve Straße", ["café", "naïve", "straße"]),
        ("Foo™ l'été", ["foo", "l", "été"]),
        ("می\u200cخواهم", ["میخواهم"]),  # noqa: RUF001
    ],
)
def test_letters_of_every_script_are_kept(text: str, words: list[str]) -> None:
    assert scoring_words(text) == words


@pytest.mark.parametrize(
    ("one", "other"),
    [("café", "cafe\u0301"), ("ＤＶＤ", "DVD"), ("ﾄﾞﾗｲﾌﾞ", "ドライブ"), ("각", "\u1100\u1161\u11a8")],  # noqa: RUF001
)
def test_equal_spellings_count_as_equal(one: str, other: str) -> None:
    assert scoring_words(one) == scoring_words(other)


def test_only_ascii_words_are_stemmed() -> None:
    assert UnicodeTokenizer(stem=True).tokenize("libraries éditions ing") == [
        "librari",
        "éditions",
        "ing",
    ]


def test_words_of_the_pieces_are_the_words_of_the_text() -> None:
    generator = random.Random(2)
    for _ in range(3000):
        text = "".join(generator.choices(ALPHABET, k=generator.randrange(14)))
        pieces = split_words(text)
        assert [word for piece in pieces for word in scoring_words(piece)] == scoring_words(text)
        assert "".join("".join(pieces).split()) == "".join(text.split())


def test_first_words_keep_the_text_as_it_is_written() -> None:
    assert first_words("  a  b, c", 2) == "a  b,"
    assert first_words("a b", 9) == "a b"
    assert first_words("DVD の表示", 3) == "DVD の表"
    assert first_words(" ", 3) == ""
