"""The options of the search: what fits together, and what stands for a flag that is not given."""

from __future__ import annotations

from typing import Any

import pytest

from s2s_ft.options.search import DEFAULTS, SearchOptions
from tests.unit.options.commands import decode


def test_the_defaults_of_the_original_stand_behind_all() -> None:
    options = SearchOptions().filled()
    assert {name: getattr(options, name) for name in DEFAULTS} == dict(DEFAULTS)
    original = ("beam_size", "min_len", "length_penalty", "ngram_size", "forbid_duplicate_ngrams")
    assert [DEFAULTS[name] for name in original] == [1, 1, 0.0, 3, False]
    assert options.filled() == options


def test_the_checkpoint_stands_before_the_defaults_and_behind_what_is_given() -> None:
    known = {"beam_size": 5, "min_len": 4, "length_penalty": None}
    options = SearchOptions(min_len=2).filled(known)
    assert (options.beam_size, options.min_len, options.length_penalty) == (5, 2, 0.0)


GROUPS = {"beam_size": 4, "num_beam_groups": 2, "diversity_penalty": 1.0}


@pytest.mark.parametrize(
    ("given", "known", "expected"),
    [
        # what is given decides between drawing and searching
        ({"do_sample": True}, {"beam_size": 5, "num_beam_groups": 5}, {"beam_size": 1}),
        ({"beam_size": 4}, {"do_sample": True, "top_k": 5}, {"do_sample": False, "top_k": 0}),
        (
            {"num_beam_groups": 2, "diversity_penalty": 0.5, "beam_size": 2},
            {"do_sample": True},
            {"do_sample": False},
        ),
        ({}, {"do_sample": True, "top_k": 5}, {"do_sample": True, "top_k": 5}),
        ({"do_sample": False}, {"do_sample": True, "top_p": 0.5}, {"top_p": 1.0}),
        # numbers of sampling that a checkpoint holds mean nothing where nothing is drawn
        ({}, {"temperature": 0.7}, {"temperature": 1.0, "do_sample": False}),
        ({"do_sample": True}, {"temperature": 0.7}, {"temperature": 0.7}),
        ({"top_k": 9}, {"do_sample": True, "top_k": 5}, {"top_k": 9}),
        ({"length_reward": 0.5}, {"length_penalty": 1.0}, {"length_penalty": 0.0}),
        # what groups need means nothing without them
        ({"num_beam_groups": 1}, GROUPS, {"beam_size": 4, "diversity_penalty": 0.0}),
        ({"beam_size": 1}, GROUPS, {"num_beam_groups": 1, "diversity_penalty": 0.0}),
        ({"num_beam_groups": 4}, GROUPS, {"beam_size": 4, "diversity_penalty": 1.0}),
    ],
)
def test_what_is_given_wins(
    given: dict[str, Any], known: dict[str, Any], expected: dict[str, Any]
) -> None:
    options = SearchOptions(**given).filled(known)
    assert {name: getattr(options, name) for name in expected} == expected


@pytest.mark.parametrize(
    "values",
    [
        {"input_format": "text"},
        {"output_format": "jsonl"},
        {"output_format": "jsonl", "output_tokens": True},
        {"split": "test"},
        {"subset": 5},
        {"source_key": "article"},
        {"target_key": "summary"},
    ],
    ids=str,
)
def test_what_concerns_files_is_refused_where_there_are_none(values: dict[str, Any]) -> None:
    decode(**values)
    with pytest.raises(
        ValueError, match=f"--{next(iter(values))} has no effect with --interactive"
    ):
        decode(input_file="", interactive=True, **values)


def test_several_outputs_can_be_shown_by_hand() -> None:
    decode(input_file="", interactive=True, beam_size=3, num_return_sequences=3)


@pytest.mark.parametrize(
    ("given", "known", "words"),
    [
        ({"temperature": 0.5}, {}, ["--temperature 0.5 needs --do_sample"]),
        ({"diversity_penalty": 0.5}, {}, ["--num_beam_groups above 1"]),
        ({"num_beam_groups": 2}, {"beam_size": 4}, ["--diversity_penalty above 0"]),
        ({"num_beam_groups": 2, "diversity_penalty": 0.5}, {}, ["--beam_size 1"]),
        ({"num_return_sequences": 3}, {}, ["--num_return_sequences 3", "--beam_size 1"]),
        ({"beam_size": 2}, {"num_return_sequences": 3}, ["--num_return_sequences 3"]),
    ],
)
def test_what_is_not_given_is_checked_when_it_is_known(
    given: dict[str, Any], known: dict[str, Any], words: list[str]
) -> None:
    options = SearchOptions(**given)
    with pytest.raises(ValueError, match="--") as caught:
        options.filled(known)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    "values",
    [
        {"top_p": 1.0, "min_p": 1.0, "typical_p": 1.0, "top_k": 0, "temperature": 100.0},
        {"do_sample": True, "num_return_sequences": 50, "beam_size": 1, "diversity_penalty": 0.0},
        {"do_sample": False, "top_p": 1.0, "temperature": 1.0},
        {"length_reward": 0.0, "length_penalty": 1.0},
        {"length_reward": -0.5, "length_penalty": -1.0},
        {"num_beam_groups": 3, "beam_size": 6, "diversity_penalty": 0.2},
        {"force_words": "a|b", "num_beam_groups": 1, "beam_size": 1},
    ],
)
def test_values_at_the_edge_are_accepted(values: dict[str, Any]) -> None:
    SearchOptions(**values)
