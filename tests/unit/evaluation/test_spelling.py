"""Spelling of tokens, on rows made by hand and on real text."""

import pytest

from s2s_ft.evaluation.spelling import bracket_tokens, penn_words, rejoin_tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("he did n ' t pay", "he did n't pay"),
        ("we don ' t", "we don't"),
        ("the bbc ' s men", "the bbc 's men"),
        ("a 3 . 5 % rise to 1 , 250 , 000", "a 3.5 % rise to 1,250,000"),
        ("in 2010 , 300 men", "in 2010 , 300 men"),
        ("the u . s . army", "the u.s. army"),
        ("and . . . then - - no", "and ... then -- no"),
        ("a well - known man", "a well-known man"),
        ("he left .", "he left ."),
        ("", ""),
    ],
)
def test_pieces_are_put_together(text: str, expected: str) -> None:
    assert rejoin_tokens(text) == expected
    assert rejoin_tokens(expected) == expected


def test_brackets_become_tokens() -> None:
    assert bracket_tokens("a (b) [c]", "off") == "a (b) [c]"
    assert bracket_tokens("a (b) [c]", "round") == "a -LRB- b -RRB- [c]"
    assert bracket_tokens("a (b) [c]", "all") == "a -LRB- b -RRB- -LSB- c -RSB-"


def test_questions_are_cut_as_the_penn_treebank_does() -> None:
    expected = [
        "what",
        "did",
        "n't",
        "the",
        "u.s.",
        "'s",
        "3.5",
        "``",
        "well-known",
        "''",
        "-lrb-",
        "big",
        "-rrb-",
        "men",
        "do",
        "?",
    ]
    assert penn_words("What didn't the U.S.'s 3.5 \"well-known\" (big) men do?") == expected
    assert penn_words(" ".join(expected)) == expected


@pytest.mark.parametrize(
    "question",
    [
        "when was dr. martin luther king jr. born in the u.s. ?",
        "what did mr. o'neill , ph.d. , eat at 5 o'clock in the '90s ?",
        "did apple inc. sell 1\\/2 of no. 5 in jan. 2009 at 3:30 p.m. ?",
        "who wrote `` c++ '' for at&t 's adm. nelson at the co. ?",
        "is rock'n'roll at http://www.a.com or x- -lrb- y -rrb- ?",
    ],
)
def test_a_question_that_was_cut_stays_as_it_is(question: str) -> None:
    assert penn_words(question) == question.split()


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (
            "was mr . king jr . in st . louis in the ' 90s ?",
            "Was Mr. King Jr. in St. Louis in the '90s?",
        ),
        ("did o ' neill , ph . d . , eat no . 5 ?", "Did O'Neill, Ph.D., eat no. 5?"),
        ("he left home . where did apple inc . go ?", "He left home. Where did Apple Inc. go?"),
        ("what are 1 \\ / 2 of 12 , 000 ?", "what are 1\\/2 of 12,000 ?"),
        ("who said no . 1 is at 5 o ' clock ?", "Who said no. 1 is at 5 o'clock?"),
    ],
)
def test_word_pieces_and_natural_text_meet(pieces: str, text: str) -> None:
    assert penn_words(pieces) == penn_words(text)


def test_no_letter_is_lost(debsum: tuple[list[str], list[str]]) -> None:
    texts = [text for text in debsum[0] if not set(text) & set("()[]{}")]
    assert len(texts) > 50
    for text in texts:
        cut = "".join(penn_words(text))
        assert [c for c in cut if c.isalnum()] == [c for c in text.lower() if c.isalnum()]


def test_words_of_real_text_stay_words(debsum: tuple[list[str], list[str]]) -> None:
    for text in debsum[1]:
        once = penn_words(text)
        assert penn_words(" ".join(once)) == once
