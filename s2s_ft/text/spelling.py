"""What rows that are given as lists of tokens say, for whoever compares or shows them.

    word pieces      fas ##t library       fast library
    SentencePiece    ▁fas t ▁library       fast library
    byte-level BPE   Ġfas t Ġlibrary       fast library
    words            fast library          fast library

Notable: no tokenizer is at hand where texts are scored, so the kind is told by the marks of the
tokens, of all lists of a file together: a single word need not have any.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import decoders

from s2s_ft.text.marks import BYTE_MARK, SPACE_MARK
from s2s_ft.text.words import join_word_pieces


def spelled(values: Sequence[str | list[str]]) -> list[str]:
    """The texts of a file's rows; those that are texts stay as they are.

    Args:
        values: Each a text or a list of tokens, all of one tokenizer.
    """
    tokens = [token for value in values if not isinstance(value, str) for token in value]
    for mark, decoder in ((SPACE_MARK, decoders.Metaspace()), (BYTE_MARK, decoders.ByteLevel())):
        if any(token.startswith(mark) for token in tokens):
            return [
                value if isinstance(value, str) else str(decoder.decode(value)).strip()
                for value in values
            ]
    return [
        value if isinstance(value, str) else " ".join(join_word_pieces(value)) for value in values
    ]
