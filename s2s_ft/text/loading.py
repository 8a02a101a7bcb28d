"""Finding and loading a tokenizer: a folder's, the hub's, or a bare `vocab.txt`.

Notable: casing and accents follow the checkpoint. A bare vocabulary of word pieces says nothing of
its casing, so it is taken from its words: BERT's cased vocabularies hold capitals everywhere, its
uncased ones nowhere.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

from tokenizers.normalizers import BertNormalizer
from transformers import (
    AutoTokenizer,
    BertTokenizer,
    PreTrainedTokenizerFast,
    XLMRobertaTokenizer,
)

from s2s_ft.cli import EnvironmentFault
from s2s_ft.storage.model_name import folders_beside, is_missing_path

logger = logging.getLogger(__name__)

SENTENCE_PIECES = "sentencepiece.bpe.model"
TOKENIZER_FLAG = "--tokenizer_name"
# What a tokenizer file without a configuration beside it most likely calls its special tokens.
CONVENTIONAL_NAMES = {
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
    "mask_token": ("[MASK]", "<mask>"),
    "unk_token": ("[UNK]", "<unk>"),
}
CASED_SHARE = 0.1
"""Share of words with capitals from which on a bare vocabulary is a cased one."""


def load_tokenizer(
    name: str, cache_dir: str | None, *, do_lower_case: bool | None, flag: str | None = None
) -> PreTrainedTokenizerFast:
    """Loads a fast tokenizer, with roles for its special tokens.

    Args:
        name: Folder or hub id.
        cache_dir: Where downloads are kept; None = transformers' own place.
        do_lower_case: As `TextCodec.load` has it.
        flag: The flag that named it, for messages; None = no flag did.

    Raises:
        ValueError: Nothing usable is there.
        EnvironmentFault: A package is missing that reads what is there.
    """
    # Handed over, not only set on the normalizer below, so that a saved copy says the same.
    casing = _casing_of_vocabulary(Path(name)) if do_lower_case is None else do_lower_case
    tokenizer = _load(name, cache_dir, {} if casing is None else {"do_lower_case": casing}, flag)
    if do_lower_case is not None:
        _set_casing(tokenizer, name, do_lower_case=do_lower_case)
    _adopt_conventional_names(tokenizer)
    return tokenizer


def _casing_of_vocabulary(folder: Path) -> bool | None:
    """False for a bare `vocab.txt` with cased words, None where anything else tells."""
    vocabulary, config = folder / "vocab.txt", folder / "tokenizer_config.json"
    if (folder / "tokenizer.json").exists() or not vocabulary.is_file():
        return None
    try:
        if config.is_file() and "do_lower_case" in json.loads(config.read_text(encoding="utf-8")):
            return None
        words = vocabulary.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError):  # for the loader to complain about
        return None
    plain = [word for word in words if word and not word.startswith("[")]
    is_cased = sum(word != word.lower() for word in plain) > CASED_SHARE * len(plain)
    return False if is_cased else None


def _load(
    name: str, cache_dir: str | None, casing: dict[str, Any], flag: str | None
) -> PreTrainedTokenizerFast:
    """Loads through AutoTokenizer, else a folder's `vocab.txt` as BERT word pieces, or its
    `sentencepiece.bpe.model` as XLM-R's (multilingual MiniLM calls itself BERT beside it).
    """
    if is_missing_path(name):
        raise _no_tokenizer(name, flag, f"no such folder{folders_beside(name)}")
    folder = Path(name)
    has_pieces = (folder / SENTENCE_PIECES).is_file() and not (folder / "tokenizer.json").exists()
    if has_pieces and importlib.util.find_spec("sentencepiece") is None:
        raise EnvironmentFault(
            f"{folder / SENTENCE_PIECES} is read with the packages sentencepiece and protobuf: "
            "pip install sentencepiece protobuf, or put the model's tokenizer.json beside it"
        )
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
    if has_pieces:
        pieces: PreTrainedTokenizerFast = XLMRobertaTokenizer.from_pretrained(name)
        return pieces
    if (folder / "vocab.txt").is_file():
        try:
            bert: PreTrainedTokenizerFast = BertTokenizer.from_pretrained(name, **casing)
            return bert
        except Exception as fault:  # such as a damaged tokenizer.json beside the vocabulary
            reason = str(fault).strip().splitlines()[0].rstrip(" :.")
    if weights := _unconverted(folder):
        raise ValueError(
            f"{with_flag(name, flag)}: these are UniLM's files and no transformers folder yet; "
            f"make one with python -m s2s_ft.convert --model_path {weights} --output_dir FOLDER, "
            "and name that"
        )
    raise _no_tokenizer(name, flag, f"no tokenizer ({reason})")


def with_flag(name: str, flag: str | None) -> str:
    """A name for messages, behind the flag that gave it, if one did."""
    return name if flag is None else f"{flag} {name}"


def _unconverted(path: Path) -> Path | None:
    """The weights among UniLM's own files, as `unilm1-base-cased.bin`, which has
    `unilm1-base-cased-vocab.txt` beside it; None where there are none.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.bin"))
    return next(
        (file for file in files if file.with_name(f"{file.stem}-vocab.txt").is_file()), None
    )


def _no_tokenizer(name: str, flag: str | None, why: str) -> ValueError:
    remedy = "with" if flag is None else "here or with"
    return ValueError(
        f"{with_flag(name, flag)}: {why}; name a folder with tokenizer.json, vocab.txt or other "
        "tokenizer files, or a hub id that can be reached"
        f"{'' if flag == TOKENIZER_FLAG else f', {remedy} {TOKENIZER_FLAG}'}"
    )


def _set_casing(tokenizer: PreTrainedTokenizerFast, name: str, *, do_lower_case: bool) -> None:
    """Makes a word-piece tokenizer lower-case or not, whatever its file says."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    if isinstance(normalizer, BertNormalizer):
        normalizer.lowercase = do_lower_case
    elif do_lower_case and (normalizer is None or "A" in normalizer.normalize_str("A")):
        logger.warning("%s: --do_lower_case has no effect on this kind of tokenizer", name)


def _adopt_conventional_names(tokenizer: PreTrainedTokenizerFast) -> None:
    """Gives roles to well-known special tokens when only a bare tokenizer.json was found."""
    stand_ins = {"cls_token": tokenizer.bos_token, "sep_token": tokenizer.eos_token}
    lacking = [
        role
        for role in CONVENTIONAL_NAMES
        if getattr(tokenizer, role) is None and stand_ins.get(role) is None
    ]
    vocabulary = tokenizer.get_vocab() if lacking else {}
    for role in lacking:
        known = next((name for name in CONVENTIONAL_NAMES[role] if name in vocabulary), None)
        if known:
            tokenizer.add_special_tokens({role: known})
