"""Words with accents, and what becomes of them where a tokenizer strips them, as uncased ones do.

An accent here is any mark without width that Unicode combines with a letter, as in é, ü and が,
and some of Devanagari's vowels. A model cannot write what its tokenizer strips, which scores show
late and loss never.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise

from s2s_ft.data.examples import Example

MANY_ACCENTS = 0.05
"""Share of texts with accents from which on they are no rare foreign words."""

ENOUGH_ROWS = 1000
"""Rows at a file's beginning that are looked at."""


def has_accents(text: str) -> bool:
    """Whether a letter of a text has an accent; emoji have marks, too."""
    if text.isascii():
        return False
    kinds = [unicodedata.category(each) for each in unicodedata.normalize("NFD", text)]
    return any(kind == "Mn" and before[0] == "L" for before, kind in pairwise(kinds))


def count_accented(texts: Sequence[str]) -> int:
    """How many texts have accents; 0 where they are too few to matter."""
    count = sum(map(has_accents, texts))
    return count if count >= MANY_ACCENTS * len(texts) else 0


def accents_report(examples: Iterable[Example]) -> str:
    """What to say of targets whose accents the tokenizer strips; empty where there are hardly any.

    Args:
        examples: Rows of the training data, of which the first are read.
    """
    first = [example.target for example in islice(examples, ENOUGH_ROWS)]
    targets = [target for target in first if isinstance(target, str)]
    count = count_accented(targets)
    if not count:
        return ""
    return (
        f"{count:,} of the first {len(targets):,} targets have accents and the tokenizer strips "
        "them: the model will write these words without; a cased encoder, or one of this "
        "language, keeps them"
    )
