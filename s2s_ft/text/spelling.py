"""What rows that are given as lists of tokens say, for whoever compares or shows them.

    word pieces      fas ##t library       fast library
    SentencePiece    ▁fas t ▁library       fast library
    byte-level BPE   Ġfas t Ġlibrary       fast library
    words            fast library          fast library

Notable: no tokenizer is at hand where texts are scored, so the kind is told by the marks of the
tokens, of all lists of a file together: a single word need not have any. Ġ is a letter of Maltese,
too; it marks byte-level tokens where these are written in that alphabet, and most lists have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import decoders, pre_tokenizers

from s2s_ft.text.marks import BYTE_MARK, SPACE_MARK
from s2s_ft.text.words import join_word_pieces


def spelled(values: Sequence[str | list[str]]) -> list[str]:
    """The texts of a file's rows; those that are texts stay as they are.

    Args:
        values: Each a text or a list of tokens, all of one tokenizer.
    """
    spell = _speller([value for value in values if not isinstance(value, str)])
    return [value if isinstance(value, str) else spell(value) for value in values]


def _speller(lists: Sequence[list[str]]) -> Callable[[list[str]], str]:
    """What makes texts of lists of tokens of one kind."""
    if any(token.startswith(SPACE_MARK) for tokens in lists for token in tokens):
        decoder: Any = decoders.Metaspace()
    elif _are_byte_level(lists):
        decoder = decoders.ByteLevel()
    else:
        return lambda tokens: " ".join(join_word_pieces(tokens))
    return lambda tokens: str(decoder.decode(tokens)).strip()


def _are_byte_level(lists: Sequence[list[str]]) -> bool:
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    several = [tokens for tokens in lists if len(tokens) > 1]
    marked = [tokens for tokens in several if any(each.startswith(BYTE_MARK) for each in tokens)]
    is_written_so = all(alphabet.issuperset(token) for tokens in lists for token in tokens)
    return is_written_so and 2 * len(marked) > len(several)
