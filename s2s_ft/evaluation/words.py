"""Words of a text in any script, as ROUGE counts them and as a reader counts them.

Notable: on ASCII text `scoring_words` gives exactly the words of rouge-score's own tokenizer
(lower-cased runs of letters and digits). That tokenizer drops every other character, so that
a Russian or Chinese summary scores 0 whatever it says; here letters, digits and marks of
every script are kept. Scripts that are written without spaces between words (Chinese,
Japanese, Thai, ...) are split into characters, each with its marks; Korean, Hindi, Arabic and
all others into words at spaces and punctuation.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache, lru_cache
from itertools import islice

# Blocks of scripts without spaces between words, as inclusive code point ranges.
_CONTINUOUS_BLOCKS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue, Khmer symbols
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3005, 0x312F),  # ideographic iteration mark and zero, Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),  # extensions of Bopomofo and Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),  # extensions of Myanmar
    (0xAA60, 0xAADF),
    (0xF900, 0xFAFF),  # Han, compatibility forms
    (0xFF66, 0xFF9D),  # Katakana, half-width
    (0x1AFF0, 0x1B16F),  # extensions of Kana
    (0x20000, 0x3FFFF),  # Han, rare characters
)
CONTINUOUS = re.compile(
    "[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _CONTINUOUS_BLOCKS) + "]"
)
_WIDTH_FORMS = re.compile("[\uff00-\uffef]+")  # full-width Latin, half-width Katakana
_ASCII_WORD = re.compile("[a-z0-9]+")
_HALF_WIDTH_SOUND_MARKS = "\uff9e\uff9f"  # letters by category, but they become marks
_ZERO_WIDTH_SPACE = "\u200b"  # marks a word boundary, unlike the other invisible characters


class _Kind(Enum):
    """What a character does to the word before it."""

    LETTER = "goes on with a word, or begins one"
    CHARACTER = "is a word by itself"
    MARK = "belongs to the character before it"
    INVISIBLE = "is as if it were not there"
    BREAK = "ends a word"


@cache
def _kind(character: str) -> _Kind:
    category = unicodedata.category(character)
    if category == "Cf":
        return _Kind.BREAK if character == _ZERO_WIDTH_SPACE else _Kind.INVISIBLE
    if category[0] == "M" or character in _HALF_WIDTH_SOUND_MARKS:
        return _Kind.MARK
    if category[0] in "LN":
        return _Kind.CHARACTER if CONTINUOUS.match(character) else _Kind.LETTER
    return _Kind.BREAK


def scoring_words(text: str) -> list[str]:
    """Split a text into lower-cased words without punctuation.

    Args:
        text: Any text; canonically equivalent spellings and full- and half-width forms count as
            equal.

    Returns:
        The words in order; characters of scripts without spaces stand alone, with their marks.
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    text = _WIDTH_FORMS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    found: list[str] = []
    previous = _Kind.BREAK
    for character in unicodedata.normalize("NFC", text.lower()):
        kind = _kind(character)
        if kind is _Kind.INVISIBLE or (kind is _Kind.MARK and previous is _Kind.BREAK):
            continue
        if kind is _Kind.MARK or (kind is _Kind.LETTER and previous is _Kind.LETTER):
            found[-1] += character
            continue
        if kind is not _Kind.BREAK:
            found.append(character)
        previous = kind
    return found


def split_words(text: str) -> list[str]:
    """Split a text into words as a reader counts them, as written and with their punctuation.

    Words end at spaces; characters of scripts without spaces are words of their own. The
    `scoring_words` of these words, one after the other, are those of the text.
    """
    return [text[begin:end] for begin, end in _word_spans(text)]


def first_words(text: str, count: int) -> str:
    """The text up to the end of its word number `count` (of `split_words`), as it is written."""
    spans = list(islice(_word_spans(text), count))
    return text[spans[0][0] : spans[-1][1]] if spans else ""


def _word_spans(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of each of `split_words`."""
    begin: int | None = None
    alone = False  # the open word is one character of a script without spaces
    for position, character in enumerate(text):
        if character.isspace():
            if begin is not None:
                yield begin, position
            begin = None
            continue
        kind = _kind(character)
        starts_anew = kind is _Kind.CHARACTER or (alone and kind is _Kind.LETTER)
        if begin is not None and not starts_anew:
            continue
        if begin is not None:
            yield begin, position
        begin, alone = position, kind is _Kind.CHARACTER
    if begin is not None:
        yield begin, len(text)


class UnicodeTokenizer:
    """`scoring_words`, stemmed: the tokenizer object that rouge-score is given.

    As in rouge-score's own tokenizer, Porter's stemmer (a stemmer of English) sees words of more
    than three characters; here only those in ASCII letters and digits.
    """

    def __init__(self, *, stem: bool) -> None:
        """Make a tokenizer, with or without stemming."""
        self._stem = lru_cache(maxsize=1 << 17)(_porter_stemmer()) if stem else None

    def tokenize(self, text: str) -> list[str]:
        """Split a text into words and stem the English-looking ones."""
        found = scoring_words(text)
        if self._stem is None:
            return found
        return [self._stem(word) if len(word) > 3 and word.isascii() else word for word in found]


def _porter_stemmer() -> Callable[[str], str]:
    from nltk.stem.porter import PorterStemmer

    stem: Callable[[str], str] = PorterStemmer().stem
    return stem
