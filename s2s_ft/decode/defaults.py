"""Defaults of generation that a checkpoint brings, and the names that transformers has for options.

    num_beams            --beam_size              temperature, top_k, top_p, min_p, typical_p,
    max_new_tokens       --max_tgt_length         do_sample, repetition_penalty, length_penalty,
    min_new_tokens       --min_len                num_beam_groups, diversity_penalty,
    no_repeat_ngram_size --forbid_duplicate_ngrams --ngram_size    num_return_sequences: as they are

Notable: a flag that is given goes before the checkpoint's `generation_config.json`, and that goes
before the original's default. Of `length_penalty` only the name is transformers': scores are
divided by ((5 + length) / 6)^p, as everywhere here. How many outputs are written is a matter of the
run, so `num_return_sequences` is not taken from the file.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from s2s_ft.cli import EnvironmentFault
from s2s_ft.options import DecodeOptions, flags_of
from s2s_ft.options.search import DEFAULTS, SearchOptions

logger = logging.getLogger(__name__)

FILE = "generation_config.json"

FLAG_OF_NAME = {
    "num_beams": "beam_size",
    "num_return_sequences": "num_return_sequences",
    "max_new_tokens": "max_tgt_length",
    "min_new_tokens": "min_len",
    "no_repeat_ngram_size": "ngram_size",
    **{
        name: name
        for name in (
            "length_penalty",
            "length_reward",
            "repetition_penalty",
            "num_beam_groups",
            "diversity_penalty",
            "do_sample",
            "temperature",
            "top_k",
            "top_p",
            "min_p",
            "typical_p",
            "bad_words",
            "force_words",
        )
    },
}
"""What transformers calls an option, or would, and our flag for it."""

EVERY_OTHER_OPTION = ("seed", "max_seq_length")
"""Options of a call from Python that are none of the search's."""

_LOGS_THEIR_NAMES = ContextVar("_LOGS_THEIR_NAMES", default=False)
_OLDER_NAMES = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}
_NOT_FROM_THE_FILE = ("num_return_sequences", "bad_words", "force_words", "length_reward")
_WITHOUT_EFFECT = (
    "bad_words_ids",
    "force_words_ids",
    "sequence_bias",
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "epsilon_cutoff",
    "eta_cutoff",
    "penalty_alpha",
)


def with_defaults(
    options: DecodeOptions, known: Mapping[str, Any], *, source: str = ""
) -> DecodeOptions:
    """Options with every flag of the search known.

    Args:
        options: As given.
        known: What the checkpoint gives, by flag (see `read_defaults`).
        source: Where that comes from; the log says what was taken from there, unless it is empty.

    Raises:
        ValueError: the checkpoint's values do not fit those given.
    """
    free = {name for name in known if getattr(options.search, name) is None}
    try:
        search = options.search.filled(known)
        filled = replace(options, search=search)
    except ValueError as fault:
        if free.isdisjoint(re.findall(r"--(\w+)", str(fault))):
            raise
        raise ValueError(f"{fault} (with what {source or FILE} says)") from fault
    taken = {name: known[name] for name in free if getattr(search, name) == known[name]}
    if taken and source:
        listed = ", ".join(f"{name} {value}" for name, value in sorted(taken.items()))
        logger.info("from %s: %s", source, listed)
    if source:
        _warn_of_idle_flags(options.search, filled.search)
    return filled


def _warn_of_idle_flags(given: SearchOptions, filled: SearchOptions) -> None:
    """Flags of the original that say nothing by themselves; it took them, so they are no fault."""
    usual = {"ngram_size": DEFAULTS["ngram_size"], "forbid_ignore_word": None}
    for name, value in usual.items():
        if getattr(given, name) not in (None, value) and not filled.forbid_duplicate_ngrams:
            logger.warning("--%s has no effect without --forbid_duplicate_ngrams", name)


def read_defaults(checkpoint: str) -> dict[str, Any]:
    """What the `generation_config.json` of a checkpoint says, by flag.

    Args:
        checkpoint: A folder, or a hub id, which brings no defaults.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(checkpoint) / FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise ValueError(f"{path} is not JSON ({fault}): mend it or remove it") from fault
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object: mend it or remove it")
    for name in _WITHOUT_EFFECT:
        if content.get(name):
            logger.warning("%s: %s has no effect here", path, name)
    return _known(content, path)


def as_flags(named: Mapping[str, Any]) -> dict[str, Any]:
    """Options under transformers' names as values by flag; None means not given.

    Raises:
        ValueError: there is no such option; the message names it.
    """
    values: dict[str, Any] = {}
    for name, value in named.items():
        flag = FLAG_OF_NAME.get(_OLDER_NAMES.get(name, name))
        if flag is None:
            names = ", ".join(sorted({*FLAG_OF_NAME, *EVERY_OTHER_OPTION}))
            raise ValueError(f"{name} is no option: know {names}")
        if value is None:
            continue
        values[flag] = value
    if "ngram_size" in values:
        values["forbid_duplicate_ngrams"] = values["ngram_size"] != 0
    return {flag: value for flag, value in values.items() if value != 0 or flag != "ngram_size"}


def in_their_names(message: str) -> str:
    """A message about flags, with transformers' names in their place."""
    names = _names()
    return re.sub(r"--(\w+)", lambda found: names.get(found[1], found[0]), message)


def in_names_of_the_call(message: str) -> str:
    """A warning about flags as whoever called knows them: a program, or the command line."""
    return in_their_names(message) if _LOGS_THEIR_NAMES.get() else message


@contextmanager
def logged_in_their_names() -> Iterator[None]:
    """Where warnings of `in_names_of_the_call` name options as transformers does."""
    token = _LOGS_THEIR_NAMES.set(True)
    try:
        yield
    finally:
        _LOGS_THEIR_NAMES.reset(token)


@contextmanager
def told_in_their_names() -> Iterator[None]:
    """Where faults name options as transformers does, whatever raises them, and warnings too."""
    try:
        with logged_in_their_names():
            yield
    except EnvironmentFault as fault:
        raise EnvironmentFault(in_their_names(str(fault))) from fault
    except ValueError as fault:
        raise ValueError(in_their_names(str(fault))) from fault


def checked(values: Mapping[str, Any], source: str) -> None:
    """Refuse values of a type that their flag does not have.

    Args:
        values: By flag.
        source: Where they come from, for the message.
    """
    names = _names()
    for flag in flags_of(DecodeOptions):
        if flag.name in values and (problem := flag.problem(values[flag.name])):
            raise ValueError(f"{source}: {names[flag.name]}: {problem}")


def _names() -> dict[str, str]:
    """What options are called outside of the command line, by flag."""
    own = {flag.name: flag.name for flag in flags_of(DecodeOptions)}
    return own | {flag: name for name, flag in FLAG_OF_NAME.items()}


def _known(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Those entries of a file that are options of ours, by flag."""
    newer = {name: content.get(name) for name in FLAG_OF_NAME if name not in _NOT_FROM_THE_FILE}
    older = {new: content.get(old) for old, new in _OLDER_NAMES.items()}
    found = {name: older.get(name) if value is None else value for name, value in newer.items()}
    values = as_flags({name: value for name, value in found.items() if value is not None})
    checked(values, str(path))
    return values
