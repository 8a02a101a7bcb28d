"""Which tokens can lie inside a word, as the marks of a vocabulary tell.

    word pieces      install ##er ##s        ## goes on with a word
    SentencePiece    ▁install er s ▁it       ▁ begins a word; marks of punctuation end one, too
    byte-level BPE   Ġinstall er s Ġit       so does Ġ

Notable: scripts without spaces between words have no such marks, and their tokens stay free to
follow one another; so do all tokens of vocabularies without marks, and bytes that are no whole
character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import decoders
from tokenizers.models import WordPiece

from s2s_ft.text.spacing import is_unspaced
from s2s_ft.text.words import WORD_PIECE_PREFIX

BYTE_MARK, SPACE_MARK = "Ġ", "▁"


@dataclass(frozen=True)
class WordMarks:
    """Where words can go on.

    Attributes:
        open: Tokens after which a word can go on.
        continuing: Tokens that go on with it.
    """

    open: frozenset[int] = frozenset()
    continuing: frozenset[int] = frozenset()


NO_MARKS = WordMarks()
"""Words never go on."""


def word_marks(backend: Any, vocabulary: Mapping[str, int]) -> WordMarks:
    """The marks of a tokenizer; empty ones where its vocabulary has none.

    Args:
        backend: A tokenizer of the `tokenizers` library.
        vocabulary: All its tokens. Added ones are words of their own.
    """
    added = backend.get_added_tokens_decoder()
    tokens = {token: each for token, each in vocabulary.items() if each not in added}
    if isinstance(backend.model, WordPiece):
        pieces = [each for token, each in tokens.items() if token.startswith(WORD_PIECE_PREFIX)]
        return WordMarks(frozenset(tokens.values()) if pieces else frozenset(), frozenset(pieces))
    texts = {each: token for token, each in tokens.items()}
    if any(token.startswith(BYTE_MARK) for token in tokens):
        decoder = decoders.ByteLevel()
        texts = {each: decoder.decode([token]) for each, token in texts.items()}
    elif not any(token.startswith(SPACE_MARK) for token in tokens):
        return NO_MARKS
    return WordMarks(
        frozenset(each for each, text in texts.items() if _is_inside(text[-1:])),
        frozenset(each for each, text in texts.items() if _is_inside(text[:1])),
    )


def _is_inside(character: str) -> bool:
    """Whether a character is a letter, a digit or an accent of a script with spaces."""
    return unicodedata.category(character or " ")[0] in "LMN" and not is_unspaced(character)
