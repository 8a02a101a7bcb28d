"""Which tokens stay in a trimmed vocabulary.

    always              special and added tokens; the ids up to the padding's where positions count
                        from it
    of the corpus       every token that it holds often enough, and what the user names
    so that any text    single characters and bytes; tokens that these cannot spell; the tokens that
    can be written      merges make on the way to one that stays

Why the corpus reads as before, by the kind of tokenizer:

    word pieces     the longest piece that fits is taken: it stayed, and no other got longer
    unigram         the likeliest cut is taken: its pieces stayed with their scores, and others only
                    went; the worst score stays as well, since unknown characters cost by it
    merges          what is merged within a token does not depend on what stands beside it, so all
                    merges on the way to a token that stays are kept in their order

Notable: pure functions of the content of a `tokenizer.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

KINDS = ("WordPiece", "Unigram", "BPE")


@dataclass(frozen=True)
class Vocabulary:
    """What of a `tokenizer.json` decides which tokens belong together.

    Attributes:
        kind: One of `KINDS`.
        ids: Id by token, added tokens left out.
        added: Ids of added tokens, special ones among them.
        merges: Rank by pair of tokens (BPE).
        scores: By token (unigram).
        prefix: What marks a piece within a word (word pieces).
        has_bytes: Whether bytes stand for characters that are no tokens.
    """

    kind: str
    ids: dict[str, int]
    added: frozenset[int]
    merges: dict[tuple[str, str], int]
    scores: dict[str, float]
    prefix: str
    has_bytes: bool

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Vocabulary:
        """Read the content of a `tokenizer.json`.

        Raises:
            ValueError: Its kind cannot be trimmed.
        """
        model = content["model"]
        kind = model.get("type")
        if kind not in KINDS or model.get("end_of_word_suffix"):
            raise ValueError(
                f"a tokenizer of kind {kind!r} cannot be trimmed; those of word pieces, unigram "
                "and merges (BPE) can"
            )
        if kind == "BPE" and model.get("continuing_subword_prefix"):
            raise ValueError("a tokenizer whose merges have a prefix cannot be trimmed")
        ids: dict[str, int] = {}
        if kind == "Unigram":
            for number, (token, _) in enumerate(model["vocab"]):
                ids.setdefault(token, number)
        else:
            ids = dict(model["vocab"])
        return cls(
            kind=kind,
            ids=ids,
            added=frozenset(each["id"] for each in content["added_tokens"]),
            merges={pair: rank for rank, pair in enumerate(merge_pairs(model))},
            scores=dict(model["vocab"]) if kind == "Unigram" else {},
            prefix=model.get("continuing_subword_prefix") or "",
            has_bytes=bool(model.get("byte_fallback")),
        )


def merge_pairs(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The merges of a BPE model, in order, however its file writes them; none of other models."""
    pairs = [each.split(" ", 1) if isinstance(each, str) else each for each in _merges(model)]
    return [(left, right) for left, right in pairs]


def kept_ids(vocabulary: Vocabulary, wanted: Iterable[int], *, all_characters: bool) -> list[int]:
    """The ids that stay, in their old order.

    Args:
        vocabulary: Of the tokenizer as it is.
        wanted: What the corpus and the user need, special ids included.
        all_characters: Keep every single character and what only it can spell, not only those in
            wanted tokens.
    """
    kept = set(wanted) | vocabulary.added
    token_of = {token_id: token for token, token_id in vocabulary.ids.items()}
    singles = dict(_single_characters(vocabulary))
    if all_characters or _is_byte_level(vocabulary):
        kept |= set(singles.values())
        kept |= _unspellable(vocabulary, singles)
    else:
        tokens = [token_of[token_id] for token_id in kept if token_id in token_of]
        characters = {character for token in tokens for character in _bare(token, vocabulary)}
        kept |= {singles[x] for c in characters for x in (c, vocabulary.prefix + c) if x in singles}
    if vocabulary.has_bytes:
        names = (f"<0x{byte:02X}>" for byte in range(256))
        kept |= {vocabulary.ids[name] for name in names if name in vocabulary.ids}
    if vocabulary.scores:
        kept.add(vocabulary.ids[min(vocabulary.scores, key=lambda x: vocabulary.scores[x])])
    if vocabulary.merges:
        for token in [token_of[token_id] for token_id in sorted(kept) if token_id in token_of]:
            kept |= {vocabulary.ids[part] for part in _made_on_the_way(token, vocabulary)}
    return sorted(kept)


def _merges(model: Mapping[str, Any]) -> Sequence[Any]:
    merges: Sequence[Any] = model.get("merges") or ()
    return merges


def _bare(token: str, vocabulary: Vocabulary) -> str:
    """A token without the mark of word pieces."""
    return token.removeprefix(vocabulary.prefix)


def _single_characters(vocabulary: Vocabulary) -> Iterator[tuple[str, int]]:
    """Tokens of one character, with and without the mark of word pieces."""
    for token, token_id in vocabulary.ids.items():
        if len(token) == 1 or len(_bare(token, vocabulary)) == 1:
            yield token, token_id


def _is_byte_level(vocabulary: Vocabulary) -> bool:
    """Whether single characters of a BPE stand for the 256 bytes: then all of them are needed."""
    alphabet = {chr(code) for code in range(0x21, 0x7F)} | {"Ġ"}
    return vocabulary.kind == "BPE" and alphabet <= vocabulary.ids.keys()


def _unspellable(vocabulary: Vocabulary, singles: Mapping[str, int]) -> set[int]:
    """Tokens with a character that is no token by itself, where it stands."""
    prefix = vocabulary.prefix
    found: set[int] = set()
    if vocabulary.has_bytes:
        return found
    for token, token_id in vocabulary.ids.items():
        bare = _bare(token, vocabulary)
        spelled = [prefix + character for character in bare]
        if bare == token and spelled:
            spelled[0] = bare[0]
        if any(each not in singles for each in spelled):
            found.add(token_id)
    return found


def _made_on_the_way(token: str, vocabulary: Vocabulary) -> set[str]:
    """Every token that merging the characters of `token` makes, the last ones included."""
    symbols = list(token)
    made = {symbol for symbol in symbols if symbol in vocabulary.ids}
    while len(symbols) > 1:
        ranks = [vocabulary.merges.get(pair, len(vocabulary.merges)) for pair in pairwise(symbols)]
        best = min(ranks)
        if best == len(vocabulary.merges):
            break
        at = ranks.index(best)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        made.add(symbols[at])
    return made
