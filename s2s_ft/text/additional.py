"""Tokens added to a tokenizer by its user (`--additional_tokens`), and how they are written.

Notable: a new token stands for what its pieces stood for until now, so the pieces are kept beside
it: the model starts its row from theirs. Words are found as whole words, in the casing of the
tokenizer; markers such as `<num>` and words of scripts without spaces wherever they stand.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from s2s_ft.cli import listed
from s2s_ft.text.spacing import is_unspaced
from s2s_ft.text.words import WORD_PIECE_PREFIX

logger = logging.getLogger(__name__)

_WORD_MARK = "▁"


@dataclass(frozen=True)
class NewToken:
    """A token that the model does not know yet.

    Attributes:
        id: Its id.
        pieces: Ids of the tokens that its text was before, the unknown one only where it was that
            alone; at least one.
    """

    id: int
    pieces: tuple[int, ...]


def read_tokens(path: str | Path, flag: str) -> list[str]:
    """The tokens of a file, one a line.

    Args:
        path: UTF-8 text.
        flag: The flag that named it, for messages.

    Raises:
        ValueError: There is no such file, or a line is no token; names file and line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(f"{flag} {path}: there is no such file; check the path") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{flag} {path}: not UTF-8 text ({error.reason}); convert it") from error
    lines: dict[str, int] = {}
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        token = line.strip()
        if len(token.split()) != 1:
            wrong = "holds a space" if token else "is empty"
            raise ValueError(f"{path}, line {number}: {wrong}; give one token a line")
        if token in lines:
            raise ValueError(
                f"{path}, line {number}: {token!r} stands in line {lines[token]} already; remove it"
            )
        lines[token] = number
    return list(lines)


def add_tokens(tokenizer: PreTrainedTokenizerFast, tokens: Sequence[str]) -> tuple[NewToken, ...]:
    """Gives a tokenizer new tokens, with the ids that follow its own.

    Args:
        tokenizer: Changed in place.
        tokens: Those it has already are told about and passed over.

    Returns:
        The new ones, in the order given.

    Raises:
        ValueError: A token would be read as a piece of a word, two of them are one word to the
            tokenizer, or it has no free ids.
    """
    backend = tokenizer.backend_tokenizer
    vocabulary = tokenizer.get_vocab()
    if isinstance(backend.model, WordPiece):
        _refuse_pieces(tokens)
    fresh = _unknown_tokens(tokens, backend, vocabulary, tokenizer.unk_token_id)
    pieces = [each.ids for each in backend.encode_batch_fast(fresh, add_special_tokens=False)]
    tokenizer.add_tokens([_as_added(token, backend) for token in fresh])
    now = tokenizer.get_vocab()
    ids = [now[token] for token in fresh]
    if len({*ids, *vocabulary.values()}) != len(ids) + len(set(vocabulary.values())):
        raise ValueError(
            "the tokenizer has no free ids for new tokens, and would give "
            f"{listed(fresh, 5)} those of others; use another tokenizer"
        )
    unknown = tokenizer.unk_token_id
    known_pieces = [tuple(each for each in row if each != unknown) for row in pieces]
    return tuple(
        NewToken(token_id, of_token or tuple(row) or (unknown or 0,))
        for token_id, of_token, row in zip(ids, known_pieces, pieces, strict=True)
    )


def written_tokens(backend: Any) -> dict[int, str]:
    """What the decoder must be given for added tokens, where that is not their own text.

    A byte-level decoder takes every character for a byte, and some tokenizers drop the spaces
    beside an added token.

    Args:
        backend: A tokenizer of the `tokenizers` library.

    Returns:
        By id; empty where the decoder does well by itself.
    """
    written: dict[int, str] = {}
    for token_id, token in backend.get_added_tokens_decoder().items():
        if token.special:
            continue
        content = token.content
        if _ends_in(backend, "ByteLevel"):
            level = ByteLevel(add_prefix_space=False, use_regex=False)
            written[token_id] = "".join(piece for piece, _ in level.pre_tokenize_str(content))
        elif _drops_space_before(backend, content):
            written[token_id] = _WORD_MARK + content
    return written


def _refuse_pieces(tokens: Sequence[str]) -> None:
    """Word pieces are told from words by their text, and so would a new token be."""
    for token in tokens:
        if token.startswith(WORD_PIECE_PREFIX):
            raise ValueError(
                f"{token!r} would be read as a piece of a word, which is what begins with "
                f"{WORD_PIECE_PREFIX} in this tokenizer; write the token another way"
            )


def _unknown_tokens(
    tokens: Sequence[str], backend: Any, vocabulary: Mapping[str, int], unknown: int | None
) -> list[str]:
    """The tokens that a tokenizer does not have, in the casing in which it looks for them."""
    known: list[str] = []
    fresh: dict[str, str] = {}
    for token in tokens:
        looked_for = token
        if _as_added(token, backend).normalized:
            looked_for = backend.normalizer.normalize_str(token)
        if looked_for in fresh:
            raise ValueError(
                f"{fresh[looked_for]!r} and {token!r} are the same to this tokenizer, which reads "
                f"both as {looked_for!r}; leave one of them out"
            )
        ids = backend.encode(looked_for, add_special_tokens=False).ids
        is_one = looked_for != token and len(ids) == 1 and ids[0] != unknown
        if token in vocabulary or is_one:
            known.append(token)
        else:
            fresh[looked_for] = token
    if known:
        logger.info("the tokenizer has %d of the tokens already: %s", len(known), listed(known, 5))
    return list(fresh.values())


def _as_added(token: str, backend: Any) -> AddedToken:
    """How a token is found in a text."""
    is_word = token[0].isalnum() and token[-1].isalnum() and not is_unspaced(token)
    folds = isinstance(backend.normalizer, BertNormalizer)
    return AddedToken(token, single_word=is_word, normalized=is_word and folds)


def _ends_in(backend: Any, kind: str) -> bool:
    """Whether the decoder is, or has a part, of a kind."""
    return backend.decoder is not None and kind in repr(backend.decoder)


def _drops_space_before(backend: Any, token: str) -> bool:
    """Whether a text gives the same ids with and without a space before a token."""
    if not (_ends_in(backend, "Metaspace") or _ends_in(backend, _WORD_MARK)):
        return False
    with_space, without = (
        backend.encode(f".{space}{token}", add_special_tokens=False).ids for space in (" ", "")
    )
    return bool(with_space == without)
