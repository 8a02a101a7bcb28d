"""Text to token ids and back, around one fast tokenizer of transformers.

Holds `SpecialIds`, the handful of ids the methods and the search need, and `TextCodec`, which
tokenises strings, looks up tokens given as lists, and turns generated ids into one line of text.

Notable: strings go straight to the Rust backend with truncation and padding off, so a tokenizer
file that cuts at 128 tokens does not cut here and no length warning appears; special tokens are
never added, as where they go is the method's business; a codec is immutable and safe to share
between threads. Word pieces are joined with one space between words, as the original toolkit
wrote its outputs; every other kind of tokenizer decodes through its own decoder, without clean-up.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

TOKENIZER_FLAGS = "--tokenizer_name / --model_name_or_path"
LINE_BREAK_MARK = " [X_SEP] "
WORD_PIECE_PREFIX = "##"
# What a tokenizer file without a configuration beside it most likely calls its special tokens.
CONVENTIONAL_NAMES = {
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
    "mask_token": ("[MASK]", "<mask>"),
    "unk_token": ("[UNK]", "<unk>"),
}


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
        fingerprint: SHA-256 (hex) of the tokenizer's serialised state and its special ids; equal
            fingerprints give equal ids for every text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, vocab_size: int | None = None) -> None:
        """Wraps a loaded tokenizer.

        Args:
            tokenizer: A fast tokenizer with mask and pad, cls or bos, and sep or eos token.
            vocab_size: Rows of the model's output; by default the tokenizer's own size.

        Raises:
            ValueError: A special token is missing, or `vocab_size` is less than the ids need.
        """
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._vocabulary: dict[str, int] = tokenizer.get_vocab()
        self._is_word_piece = isinstance(self._backend.model, WordPiece)
        self._unknown_id: int | None = tokenizer.unk_token_id
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
    ) -> TextCodec:
        """Loads a tokenizer from a folder or from the hub.

        A folder that transformers cannot make sense of but that holds a `vocab.txt` (as MiniLM and
        UniLM were released) is read as BERT word pieces.

        Args:
            name_or_path: Folder with tokenizer files, or a hub id.
            do_lower_case: Overrides the casing of a word-piece tokenizer; None = as it says itself.
            cache_dir: Where downloads from the hub are kept; None = transformers' own place.

        Raises:
            ValueError: Nothing usable is there (one line, naming the path and the flags).
        """
        name, cache = str(name_or_path), None if cache_dir is None else str(cache_dir)
        # Handed over, not only set on the normalizer below, so that a saved copy says the same.
        casing = {} if do_lower_case is None else {"do_lower_case": do_lower_case}
        tokenizer = _load_tokenizer(name, cache, casing)
        if do_lower_case is not None:
            _set_casing(tokenizer, name, do_lower_case=do_lower_case)
        _adopt_conventional_names(tokenizer)
        try:
            return cls(tokenizer)
        except ValueError as fault:
            raise ValueError(f"{name}: {fault}") from fault

    def with_vocab_size(self, vocab_size: int) -> TextCodec:
        """The same codec for a model with `vocab_size` output rows (ValueError if too few)."""
        return TextCodec(self.tokenizer, vocab_size)

    def encode(self, values: Sequence[str | list[str]]) -> list[list[int]]:
        """Turns values into token ids, without special tokens and without truncation.

        Args:
            values: A string is tokenised; a list holds tokens already, which are only looked up.

        Returns:
            One list of ids per value, in order.

        Raises:
            ValueError: A listed token is unknown and the tokenizer has no unknown token.
        """
        texts = [value for value in values if isinstance(value, str)]
        encoded = iter(self._backend.encode_batch_fast(texts, add_special_tokens=False))
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
        token_id = self._vocabulary.get(token, self._unknown_id)
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
        ends = (self.special.sep, self.special.pad)
        kept = [int(token_id) for token_id in ids]
        kept = kept[: next((i for i, token_id in enumerate(kept) if token_id in ends), len(kept))]
        if self._is_word_piece:
            text = " ".join(join_word_pieces(self.tokens(kept)))
        else:
            text = self._backend.decode(kept, skip_special_tokens=False).strip()
        # A lone carriage return would also start a new line for whoever reads the output file.
        return re.sub(r"\r\n?|\n", LINE_BREAK_MARK, text)

    def save(self, folder: str | Path) -> None:
        """Writes the tokenizer's files into `folder`, so that `load` gives the same codec back."""
        self.tokenizer.save_pretrained(str(folder))


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

    What rescoring does to its outputs: as long as there are more than four words and the last four
    are the same punctuation mark, three of them go. `. . . . .` therefore keeps two.

    Args:
        words: The words of an output, as `join_word_pieces` gives them.

    Returns:
        The words that stay, a new list.
    """
    kept = list(words)
    while len(kept) > 4 and len(set(kept[-4:])) == 1 and len(kept[-1]) == 1:
        if unicodedata.category(kept[-1])[0] not in "PS":  # neither punctuation nor a symbol
            break
        del kept[-3:]
    return kept


def _load_tokenizer(
    name: str, cache_dir: str | None, casing: dict[str, Any]
) -> PreTrainedTokenizerFast:
    """Loads through AutoTokenizer, else a folder's `vocab.txt` as BERT word pieces."""
    try:
        loaded: Any = AutoTokenizer.from_pretrained(
            name, cache_dir=cache_dir, use_fast=True, trust_remote_code=False, **casing
        )
        # Given a model's configuration alone, transformers builds a tokenizer without a word.
        has_words = len(loaded) > len(set(loaded.all_special_ids))
        if has_words and isinstance(loaded, PreTrainedTokenizerFast):
            return loaded
        reason = "it has no fast version" if has_words else "its vocabulary files are missing"
    # transformers and tokenizers raise nearly every type here, plain Exception included.
    except Exception as fault:
        reason = (str(fault).strip() or type(fault).__name__).splitlines()[0].rstrip(" :.")
    folder = Path(name)
    if (folder / "vocab.txt").is_file():
        bert: PreTrainedTokenizerFast = BertTokenizer.from_pretrained(name, **casing)
        return bert
    looks_local = folder.exists() or folder.is_absolute() or name.startswith((".", "~"))
    where = "no such folder" if looks_local and not folder.exists() else f"no tokenizer ({reason})"
    raise ValueError(
        f"{name}: {where}; name a folder with tokenizer.json, vocab.txt or other tokenizer files, "
        f"or a hub id that can be reached, with {TOKENIZER_FLAGS}"
    )


def _set_casing(tokenizer: PreTrainedTokenizerFast, name: str, *, do_lower_case: bool) -> None:
    """Makes a word-piece tokenizer lower-case or not, whatever its file says."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    if isinstance(normalizer, BertNormalizer):
        normalizer.lowercase = do_lower_case
    elif do_lower_case:
        logger.warning("%s: --do_lower_case has no effect on this kind of tokenizer", name)


def _adopt_conventional_names(tokenizer: PreTrainedTokenizerFast) -> None:
    """Gives roles to well-known special tokens when only a bare tokenizer.json was found."""
    vocabulary = tokenizer.get_vocab()
    stand_ins = {"cls_token": tokenizer.bos_token, "sep_token": tokenizer.eos_token}
    for role, names in CONVENTIONAL_NAMES.items():
        known = next((name for name in names if name in vocabulary), None)
        if getattr(tokenizer, role) is None and stand_ins.get(role) is None and known:
            tokenizer.add_special_tokens({role: known})


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
            f"{TOKENIZER_FLAGS}"
        )
    needed = max(len(tokenizer), max(vocabulary.values()) + 1)
    if vocab_size is not None and vocab_size < needed:
        raise ValueError(
            f"the tokenizer gives ids up to {needed - 1} but the model has only {vocab_size} "
            f"output rows; name the tokenizer that belongs to the model with {TOKENIZER_FLAGS}"
        )
    ids = {role: int(token_id) for role, token_id in found.items() if token_id is not None}
    return SpecialIds(**ids, vocab_size=needed if vocab_size is None else vocab_size)
