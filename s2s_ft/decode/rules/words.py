"""Words that must or must not come out, as the user gives them, and as token sequences.

Notable: byte-level and SentencePiece tokenizers have other tokens for a word after a space than at
the beginning. A forbidden word is forbidden in both forms; a wanted word is wanted as it stands
after a space, which is how it stands in most places of a text.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from s2s_ft.text import NO_MARKS, TextCodec, WordMarks

logger = logging.getLogger(__name__)

Sequences = tuple[tuple[int, ...], ...]


def read_words(value: str | None, flag: str) -> list[str]:
    """The words of `--bad_words` or `--force_words`.

    Args:
        value: Words joined by |, or the name of a file or pipe with one a line; None = no words.
        flag: Its name, for messages.

    Raises:
        ValueError: A word is empty, or the file holds none or is not UTF-8.
    """
    if value is None:
        return []
    path = Path(value)
    if is_file_of_words(value):
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as fault:
            raise ValueError(f"--{flag}: {path} is not UTF-8 text; save it as such") from fault
        words = [line.strip() for line in lines if line.strip()]
        if not words:
            raise ValueError(f"--{flag}: {path} holds no words; give one a line")
        return words
    if _names_a_file(value):
        logger.warning(
            "--%s %s: there is no such file, so it is taken for a word; check the path", flag, value
        )
    words = [word.strip() for word in value.split("|")]
    if not all(words):
        raise ValueError(f"--{flag} {value!r} has an empty word: take out the | too many")
    return words


def is_file_of_words(value: str) -> bool:
    """Whether words are to be read from what is there by that name: a file, or a pipe."""
    return "|" not in value and os.path.exists(value) and not os.path.isdir(value)


def _names_a_file(value: str) -> bool:
    """Whether a text is rather the name of a file than words: a path, or one with an ending."""
    return (
        "|" not in value and re.fullmatch(r"(~|\.{0,2})/\S+|\S+\.[a-zA-Z]{2,5}", value) is not None
    )


def forbidden_sequences(words: Sequence[str], codec: TextCodec) -> Sequences:
    """Token sequences that write the words, at the beginning of a text and after a space. Blanks
    and line feeds around a word are no part of it.

    Raises:
        ValueError: A word is empty, or it is, or holds, nothing that the tokenizer knows.
    """
    forms = [form for word in _stripped(words, "bad_words") for form in (word, f" {word}")]
    return _distinct(forms, codec, "bad_words")


def wanted_phrases(words: Sequence[str], codec: TextCodec, flag: str = "force_words") -> Sequences:
    """Token sequences that write the words after a space. Blanks and line feeds around a word are
    no part of it.

    Raises:
        ValueError: A word is empty, or it is, or holds, nothing that the tokenizer knows.
    """
    return _distinct([f" {word}" for word in _stripped(words, flag)], codec, flag)


def wanted_prefix(prefix: str | list[str], codec: TextCodec) -> tuple[int, ...]:
    """The tokens that an output is to begin with; listed ones are looked up, and may be unknown.

    Raises:
        ValueError: It is a text with something that the tokenizer does not know.
    """
    (ids,) = codec.encode([prefix])
    if isinstance(prefix, str) and codec.tokenizer.unk_token_id in ids:
        raise _unwritten(prefix, "prefix")
    return tuple(ids)


def holds(ids: Sequence[int], part: Sequence[int], marks: WordMarks = NO_MARKS) -> bool:
    """Whether the tokens of `part` stand next to each other in `ids`, and no word goes on behind
    them.
    """
    size = len(part)
    barred = marks.continuing if marks.open.issuperset(part[-1:]) else ()
    return any(
        tuple(ids[at : at + size]) == tuple(part)
        and not any(each in barred for each in ids[at + size : at + size + 1])
        for at in range(len(ids) - size + 1)
    )


def _stripped(words: Sequence[str], flag: str) -> list[str]:
    stripped = [word.strip() for word in words]
    if not all(stripped):
        raise ValueError(f"--{flag}: {words[stripped.index('')]!r} is no word; leave it out")
    return stripped


def _distinct(texts: list[str], codec: TextCodec, flag: str) -> Sequences:
    unknown, special = codec.tokenizer.unk_token_id, codec.special
    reserved = {special.cls, special.sep, special.pad, special.mask}
    sequences: dict[tuple[int, ...], None] = {}
    try:
        encoded = codec.encode(texts)
    except ValueError as fault:
        raise ValueError(f"--{flag}: {fault}") from fault
    for text, ids in zip(texts, encoded, strict=True):
        if not ids or unknown in ids:
            raise _unwritten(text, flag)
        if reserved.intersection(ids):
            raise ValueError(f"--{flag}: {text.strip()!r} is a special token, not a word")
        sequences[tuple(ids)] = None
    return tuple(sequences)


def _unwritten(text: str, flag: str) -> ValueError:
    return ValueError(
        f"--{flag}: the tokenizer cannot write {text.strip()!r}; spell it with characters of its "
        "vocabulary or leave it out"
    )
