"""`TextCodec`: text to token ids and back, around one fast tokenizer of transformers.

Notable: strings go straight to the Rust backend with truncation and padding off, so a tokenizer
file that cuts at 128 tokens does not cut here and no length warning appears; special tokens are
never added, as where they go is the method's business; a codec is immutable and safe to share
between threads. Word pieces are joined with spaces between words (`spacing.py` says which); every
other kind of tokenizer decodes through its own decoder, without clean-up.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerFast

from s2s_ft.text.additional import NewToken, add_tokens, written_tokens
from s2s_ft.text.loading import TOKENIZER_FLAG, load_tokenizer, with_flag
from s2s_ft.text.marks import WordMarks, word_marks
from s2s_ft.text.spacing import join_words
from s2s_ft.text.words import join_word_pieces

LINE_BREAK_MARK = " [X_SEP] "


@dataclass(frozen=True)
class SpecialIds:
    """Ids that have a meaning to the methods and the search.

    Attributes:
        cls: Opens the source.
        sep: Closes source and target; also the end of a generated sequence.
        pad: Fills rows up to a common length.
        mask: Stands for a token to be predicted.
        vocab_size: Number of rows of the model's output; may exceed the tokenizer's vocabulary.
    """

    cls: int
    sep: int
    pad: int
    mask: int
    vocab_size: int


class TextCodec:
    """A fast tokenizer with everything about it that this toolkit relies on.

    Attributes:
        tokenizer: The transformers tokenizer; its own truncation and padding are switched off.
        special: Special ids and the model's output size.
        new_tokens: Tokens that the model has no row for yet, with their pieces.
        unknown_id: Stands for what the vocabulary lacks; None = the tokenizer has no such token.
        fingerprint: SHA-256 (hex) of the tokenizer's serialised state and its special ids; equal
            fingerprints give equal ids for every text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        vocab_size: int | None = None,
        new_tokens: tuple[NewToken, ...] = (),
    ) -> None:
        """Wraps a loaded tokenizer.

        Args:
            tokenizer: A fast tokenizer with mask and pad, cls or bos, and sep or eos token.
            vocab_size: Rows of the model's output; by default the tokenizer's own size.
            new_tokens: Tokens of it that its model does not know yet.

        Raises:
            ValueError: A special token is missing, or `vocab_size` is less than the ids need.
        """
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._vocabulary: dict[str, int] = tokenizer.get_vocab()
        self._is_word_piece = isinstance(self._backend.model, WordPiece)
        self.unknown_id: int | None = tokenizer.unk_token_id
        self._written = {} if self._is_word_piece else written_tokens(self._backend)
        self._known_cuts: dict[str, bool] = {}
        self.new_tokens = new_tokens
        self.special = _special_ids(tokenizer, self._vocabulary, vocab_size)
        # The model's output size is left out: it decides nothing about which ids a text gets.
        state = [self._backend.to_str(), {**asdict(self.special), "vocab_size": None}]
        self.fingerprint = hashlib.sha256(json.dumps(state).encode("utf-8")).hexdigest()

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        *,
        do_lower_case: bool | None = None,
        cache_dir: str | Path | None = None,
        flag: str | None = None,
    ) -> TextCodec:
        """Loads a tokenizer from a folder or from the hub.

        A folder that transformers cannot make sense of but that holds a `vocab.txt` (as MiniLM and
        UniLM were released) is read as BERT word pieces.

        Args:
            name_or_path: Folder with tokenizer files, or a hub id.
            do_lower_case: Overrides the casing of a word-piece tokenizer; None = as it says itself.
            cache_dir: Where downloads from the hub are kept; None = transformers' own place.
            flag: The flag that named it, for messages; None = no flag did.

        Raises:
            ValueError: Nothing usable is there (one line, naming the path and the flag).
        """
        name, cache = str(name_or_path), None if cache_dir is None else str(cache_dir)
        tokenizer = load_tokenizer(name, cache, do_lower_case=do_lower_case, flag=flag)
        try:
            return cls(tokenizer)
        except ValueError as fault:
            raise ValueError(f"{with_flag(name, flag)}: {fault}") from fault

    @cached_property
    def word_marks(self) -> WordMarks:
        """Which tokens can lie inside a word."""
        return word_marks(self._backend, self._vocabulary)

    @cached_property
    def strips_accents(self) -> bool:
        """Whether é becomes e, as in most uncased tokenizers."""
        normalizer = self._backend.normalizer
        return normalizer is not None and normalizer.normalize_str("é") == "e"

    def with_vocab_size(self, vocab_size: int) -> TextCodec:
        """The same codec for a model with `vocab_size` output rows (ValueError if too few)."""
        same = copy(self)
        same.special = _special_ids(self.tokenizer, self._vocabulary, vocab_size)
        return same

    def with_tokens(self, tokens: Sequence[str]) -> TextCodec:
        """The same codec with further tokens, which `new_tokens` tells of.

        Args:
            tokens: Their texts; the tokenizer that this codec shares is changed, too.
        """
        new_tokens = add_tokens(self.tokenizer, tokens)
        return TextCodec(self.tokenizer, None, (*self.new_tokens, *new_tokens))

    def encode(self, values: Sequence[str | list[str]]) -> list[list[int]]:
        """Turns values into token ids, without special tokens and without truncation.

        Args:
            values: A string is tokenised; a list holds tokens already, which are only looked up.

        Returns:
            One list of ids per value, in order.

        Raises:
            ValueError: A text holds half a character, or a listed token is unknown and the
                tokenizer has no unknown token.
        """
        texts = [value for value in values if isinstance(value, str)]
        try:
            encoded = iter(self._backend.encode_batch_fast(texts, add_special_tokens=False))
        except TypeError:
            for text in texts:
                check_characters(text)
            raise
        return [
            next(encoded).ids if isinstance(value, str) else [self.token_id(x) for x in value]
            for value in values
        ]

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of `ids`; an id beyond the vocabulary reads as the unknown token."""
        unknown = str(self.tokenizer.unk_token or "")
        found = (self._backend.id_to_token(int(token_id)) for token_id in ids)
        return [unknown if token is None else token for token in found]

    def token_id(self, token: str) -> int:
        """The id of one token, or the unknown token's (ValueError if there is none)."""
        token_id = self._vocabulary.get(token, self.unknown_id)
        if token_id is None:
            raise ValueError(
                f"token {token!r} is not in the vocabulary and the tokenizer has no unknown token; "
                "give text instead of a list of tokens, or tokens of this tokenizer"
            )
        return token_id

    def decode(self, ids: Sequence[int]) -> str:
        """Turns generated ids into one line of text.

        Args:
            ids: Token ids; whatever stands at and after the first sep or pad id is dropped.

        Returns:
            The text, stripped; a line break inside it is written as ` [X_SEP] `.
        """
        if self._is_word_piece:
            text = self.join(self.words(ids))
        else:
            text = self._decoded(self._until_end(ids)).strip()
        # A lone carriage return would also start a new line for whoever reads the output file.
        return re.sub(r"\r\n?|\n", LINE_BREAK_MARK, text)

    def words(self, ids: Sequence[int]) -> list[str]:
        """The words of generated ids: what `join` makes the text of that `decode` gives.

        Args:
            ids: As for `decode`.

        Returns:
            Joined word pieces, as the original toolkit wrote them with spaces between; of other
            tokenizers the text between spaces.
        """
        if self._is_word_piece:
            return join_word_pieces(self.tokens(self._until_end(ids)))
        text = self.decode(ids)
        return text.split(" ") if text else []

    def join(self, words: Sequence[str]) -> str:
        """One text of words; of word pieces with the spaces that `spacing.py` tells of."""
        return join_words(words, self._cuts) if self._is_word_piece else " ".join(words)

    def save(self, folder: str | Path) -> None:
        """Writes the tokenizer's files into `folder`, so that `load` gives the same codec back."""
        self.tokenizer.save_pretrained(str(folder))

    def _until_end(self, ids: Sequence[int]) -> list[int]:
        """The ids before the first sep or pad."""
        ends = (self.special.sep, self.special.pad)
        kept = [int(token_id) for token_id in ids]
        return kept[: next((i for i, token_id in enumerate(kept) if token_id in ends), len(kept))]

    def _decoded(self, ids: list[int]) -> str:
        """The text of ids through the tokenizer's own decoder."""
        if self._written.keys().isdisjoint(ids):
            return str(self._backend.decode(ids, skip_special_tokens=False))
        tokens = [self._written.get(each) or self._backend.id_to_token(each) for each in ids]
        return str(self._backend.decoder.decode([token for token in tokens if token is not None]))

    def _cuts(self, left: str, right: str) -> bool:
        """Whether the tokenizer cuts between two characters that no space divides."""
        pair = left + right
        if pair not in self._known_cuts:
            normalizer, cutter = self._backend.normalizer, self._backend.pre_tokenizer
            normal = pair if normalizer is None else normalizer.normalize_str(pair)
            self._known_cuts[pair] = cutter is not None and len(cutter.pre_tokenize_str(normal)) > 1
        return self._known_cuts[pair]


def check_characters(text: str) -> None:
    """Refuse what no tokenizer takes for text.

    Raises:
        ValueError: It holds half a character.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as fault:
        raise ValueError(
            f"{text!r} holds half a character (a byte that is not UTF-8, or an escape such as "
            "\\ud83d on its own); write the whole character"
        ) from fault


def _special_ids(
    tokenizer: PreTrainedTokenizerFast, vocabulary: dict[str, int], vocab_size: int | None
) -> SpecialIds:
    """Collects the special ids and checks the model's output size against them."""
    first_of = {
        "cls": (tokenizer.cls_token_id, tokenizer.bos_token_id),
        "sep": (tokenizer.sep_token_id, tokenizer.eos_token_id),
        "pad": (tokenizer.pad_token_id,),
        "mask": (tokenizer.mask_token_id,),
    }
    found = {role: next((x for x in ids if x is not None), None) for role, ids in first_of.items()}
    missing = [role for role, token_id in found.items() if token_id is None]
    if missing:
        raise ValueError(
            f"the tokenizer has no {' and no '.join(missing)} token; name another one with "
            f"{TOKENIZER_FLAG}"
        )
    needed = max(len(tokenizer), max(vocabulary.values()) + 1)
    if vocab_size is not None and vocab_size < needed:
        raise ValueError(
            f"the tokenizer gives ids up to {needed - 1} but the model has only {vocab_size} "
            f"output rows; name the tokenizer that belongs to the model with {TOKENIZER_FLAG}"
        )
    ids = {role: int(token_id) for role, token_id in found.items() if token_id is not None}
    return SpecialIds(**ids, vocab_size=needed if vocab_size is None else vocab_size)
