"""Sentences by rule, without trained data, for ROUGE-Lsum and the first-sentence baseline.

A text whose lines are marked (by a newline or `[X_SEP]`, which decoding writes for a newline
inside an output) is split there. Otherwise a sentence ends at `.`, `!`, `?` and their like before
white space, unless the word before is a common abbreviation, and at the full stops of scripts
without spaces wherever they stand.
"""

import re

# A newline or any other character at which a line may end.
_LINE_BREAK = re.compile(r"\s*(?:\[X_SEP\]|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029])\s*")
_CLOSING = r"[\"'”’»)\]]*"  # noqa: RUF001  closing quotation marks
_SENTENCE_END = re.compile(
    rf"[.!?…؟۔।॥።]+{_CLOSING}\s+"  # noqa: RUF001  with full stops of Urdu, Hindi, Amharic
    r"|[。！？｡]+[」』）”’]*\s*"  # noqa: RUF001  those of Chinese and Japanese
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'])(?:e\.g|i\.e|eg|ie|cf|vs|viz|mr|mrs|ms|dr|prof|st|fig|approx|z\.b|d\.h)\.$",
    re.IGNORECASE,
)


def plain_lines(text: str) -> str:
    """The text with every line break, written as a newline or as `[X_SEP]`, as one newline."""
    return _LINE_BREAK.sub("\n", text).strip()


def split_sentences(text: str) -> list[str]:
    """Split a text at its line breaks or, where it has none, by punctuation.

    Args:
        text: Any text; line breaks may be newlines or `[X_SEP]`.

    Returns:
        The sentences, stripped, none empty.
    """
    lines = plain_lines(text).split("\n")
    sentences = lines if len(lines) > 1 else _split_by_rule(lines[0])
    return [sentence for sentence in sentences if sentence]


def first_sentence(text: str) -> str:
    """The first sentence of a text's first line; empty for an empty text."""
    sentences = _split_by_rule(plain_lines(text).split("\n", 1)[0])
    return sentences[0] if sentences else ""


def _split_by_rule(line: str) -> list[str]:
    sentences: list[str] = []
    begin = 0
    for match in _SENTENCE_END.finditer(line):
        if not _ABBREVIATION.search(line[begin : match.end()].rstrip()):
            sentences.append(line[begin : match.end()].strip())
            begin = match.end()
    return [*sentences, line[begin:]] if begin < len(line) else sentences
