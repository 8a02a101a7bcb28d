"""Checks of the options of the search, each alone and against the others.

Notable: None means that a flag was not given and is not known yet; what depends on it is checked
once it is (`SearchOptions.filled`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from s2s_ft.options.checks import (
    LARGEST_EXPONENT,
    LARGEST_WEIGHT,
    LONGEST,
    MOST_BEAMS,
    TEMPERATURES,
    at_most,
    count,
    finite,
    more_than,
    not_empty,
    probability,
    within,
)

if TYPE_CHECKING:
    from s2s_ft.options.search import SearchOptions

ONLY_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p")
ONLY_SEARCHING = ("beam_size", "num_beam_groups", "diversity_penalty", "force_words")


def check_search(options: SearchOptions, defaults: Mapping[str, Any]) -> None:
    """Refuse values that mean nothing, alone or together.

    Args:
        options: To check.
        defaults: What a flag means that nobody gives.

    Raises:
        ValueError: The message names the flags.
    """
    _check_ranges(options)
    _check_lengths(options)
    _check_beams(options)
    _check_groups(options)
    used = {
        name
        for name in (*ONLY_SAMPLING, *ONLY_SEARCHING)
        if getattr(options, name) not in (None, defaults.get(name))
    }
    _check_sampling(options, used)


def _check_ranges(options: SearchOptions) -> None:
    within(
        1,
        MOST_BEAMS,
        beam_size=options.beam_size,
        num_return_sequences=options.num_return_sequences,
        num_beam_groups=options.num_beam_groups,
    )
    within(1, LONGEST, max_tgt_length=options.max_tgt_length)
    count(1, ngram_size=options.ngram_size)
    count(0, min_len=options.min_len, top_k=options.top_k)
    above_zero = {
        "repetition_penalty": options.repetition_penalty,
        "top_p": options.top_p,
        "typical_p": options.typical_p,
    }
    more_than(0, **above_zero)
    finite(**above_zero)
    within(*TEMPERATURES, temperature=options.temperature)
    within(-LARGEST_EXPONENT, LARGEST_EXPONENT, length_penalty=options.length_penalty)
    within(-LARGEST_WEIGHT, LARGEST_WEIGHT, length_reward=options.length_reward)
    within(0, LARGEST_WEIGHT, diversity_penalty=options.diversity_penalty)
    at_most(LARGEST_WEIGHT, repetition_penalty=options.repetition_penalty)
    probability(top_p=options.top_p, typical_p=options.typical_p, min_p=options.min_p)
    not_empty(bad_words=options.bad_words, force_words=options.force_words)


def _check_lengths(options: SearchOptions) -> None:
    if options.max_tgt_length is not None and (options.min_len or 0) > options.max_tgt_length:
        raise ValueError(
            f"--min_len {options.min_len} is more than --max_tgt_length {options.max_tgt_length}: "
            "lower --min_len or raise --max_tgt_length"
        )
    if options.length_reward and (options.length_penalty or 0.0) > 0.0:
        raise ValueError(
            f"--length_reward {options.length_reward} and --length_penalty "
            f"{options.length_penalty} exclude each other: give one of them"
        )


def _check_beams(options: SearchOptions) -> None:
    beams, outputs = options.beam_size, options.num_return_sequences
    if outputs is not None and beams is not None and outputs > beams and not options.do_sample:
        raise ValueError(
            f"--num_return_sequences {outputs} is more than --beam_size {beams} can give: raise "
            "--beam_size or lower --num_return_sequences"
        )


def _check_groups(options: SearchOptions) -> None:
    beams, groups = options.beam_size, options.num_beam_groups
    if groups is not None and beams is not None and beams % groups:
        raise ValueError(
            f"--num_beam_groups {groups} does not divide --beam_size {beams} into groups of one "
            "size: change one of them"
        )
    if (groups or 1) > 1 and options.diversity_penalty == 0.0:
        raise ValueError(
            f"--num_beam_groups {groups} needs --diversity_penalty above 0: without one all groups "
            "find the same"
        )
    if groups == 1 and options.diversity_penalty:
        raise ValueError(
            f"--diversity_penalty {options.diversity_penalty} needs --num_beam_groups above 1: "
            "give both or none"
        )
    if options.force_words is not None and (groups or 1) > 1:
        raise ValueError(
            f"--force_words and --num_beam_groups {groups} exclude each other: groups cannot share "
            "the beams that words need; give one of them"
        )


def _check_sampling(options: SearchOptions, used: set[str]) -> None:
    """Refuse flags of sampling without it, and flags of searching with it."""
    searching = [name for name in ONLY_SEARCHING if name in used]
    if options.do_sample and searching:
        raise ValueError(
            f"--do_sample and --{searching[0]} {getattr(options, searching[0])} exclude each "
            "other: what is drawn is not searched; give one of them"
        )
    sampling = [name for name in ONLY_SAMPLING if name in used]
    if options.do_sample is False and sampling:
        raise ValueError(
            f"--{sampling[0]} {getattr(options, sampling[0])} needs --do_sample: give both or none"
        )
