"""Words of a generated text: word pieces joined, and one mark of punctuation instead of four.

Notable: lists of words in, lists of words out; where spaces go between them is told in
`spacing.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

WORD_PIECE_PREFIX = "##"


def join_word_pieces(tokens: Sequence[str]) -> list[str]:
    """Joins word pieces to words: `walk ##ing slow ##ly` becomes `walking slowly`.

    Args:
        tokens: Word pieces; one that starts with `##` continues the word before it, if any.

    Returns:
        The words, in order.
    """
    words: list[list[str]] = []
    for token in tokens:
        if words and token.startswith(WORD_PIECE_PREFIX):
            words[-1].append(token[len(WORD_PIECE_PREFIX) :])
        else:
            words.append([token])
    return ["".join(pieces) for pieces in words]


def collapse_repeated_punctuation(words: Sequence[str]) -> list[str]:
    """Shortens a run of one punctuation mark at the end: `ok ! ! ! !` becomes `ok !`.

    What rescoring does with `--collapse_punctuation`, and the original's always did: as long as
    there are more than four words and the last four are the same punctuation mark, three of them
    go. `. . . . .` therefore keeps two.

    Args:
        words: The words of an output, as `TextCodec.words` gives them.

    Returns:
        The words that stay, a new list.
    """
    kept = list(words)
    while len(kept) > 4 and len(set(kept[-4:])) == 1 and len(kept[-1]) == 1:
        if unicodedata.category(kept[-1])[0] not in "PS":  # neither punctuation nor a symbol
            break
        del kept[-3:]
    return kept
