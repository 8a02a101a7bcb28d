"""Text to token ids and back.

    codec.py        TextCodec: what the rest of the package uses of a tokenizer
    loading.py      finding a tokenizer in a folder or on the hub
    additional.py   tokens that a user adds
    words.py        word pieces joined to words
    marks.py        which tokens lie inside a word
    spacing.py      which spaces belong between words
    spelling.py     what lists of tokens say, without their tokenizer

Every public name can be imported from here.
"""

from s2s_ft.text.additional import NewToken, read_tokens
from s2s_ft.text.codec import LINE_BREAK_MARK, SpecialIds, TextCodec
from s2s_ft.text.marks import NO_MARKS, WordMarks
from s2s_ft.text.spelling import spelled
from s2s_ft.text.words import collapse_repeated_punctuation, join_word_pieces

__all__ = [
    "LINE_BREAK_MARK",
    "NO_MARKS",
    "NewToken",
    "SpecialIds",
    "TextCodec",
    "WordMarks",
    "collapse_repeated_punctuation",
    "join_word_pieces",
    "read_tokens",
    "spelled",
]
