"""Phrases that must appear: against brute force, and as a property of every output."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from s2s_ft.decode.rules.lexical import PhraseBeams
from s2s_ft.decode.rules.phrases import num_missing
from s2s_ft.decode.search.requests import FORBIDDEN
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.text import WordMarks
from tests.unit.decode.chain import (
    CPU,
    EOS,
    Ids,
    brute_force,
    find,
    is_same,
    pairs,
    progress_of,
    random_tables,
    request,
)

EXACT = SearchSettings(beam_size=4**5, max_length=5, eos_id=EOS, num_return=9)
PHRASES: list[tuple[Ids, ...]] = [
    ((1,),),
    ((2, 2),),
    ((1, 2, 1),),
    ((3,), (1,)),
    ((1, 2), (2, 3)),  # may overlap
    ((1, 2), (3, 1), (2,)),
    ((1, 1, 2),),  # "1 1 1 2" holds it too
    ((1,), (1,)),  # one occurrence is enough
    ((2,), (2, 3)),
]


MARKS = WordMarks(open=frozenset({1, 2}), continuing=frozenset({1, 3}))
"""So that 1 goes on with a word and is gone on from, 2 and 3 do one of both."""


def with_phrases(
    table: torch.Tensor, settings: SearchSettings, phrases: tuple[Ids, ...]
) -> list[tuple[Ids, float]]:
    return [
        (ids, score)
        for ids, score in brute_force(table, settings)
        if not num_missing(ids, phrases, settings.word_marks)
    ]


@pytest.mark.parametrize("phrases", PHRASES, ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"length_penalty": 1.2, "min_length": 3}, {"word_marks": MARKS}], ids=str
)
def test_a_wide_beam_is_brute_force(phrases: tuple[Ids, ...], options: dict[str, Any]) -> None:
    tables = random_tables(3, 4, seed=1)
    settings = replace(EXACT, **options)
    found = find(tables, settings, [request(key, phrases=phrases) for key in range(3)])
    for key, table in enumerate(tables):
        wanted = with_phrases(table, settings, phrases)[: settings.num_return]
        got = pairs(found[key])
        assert [ids for ids, _ in got] == [ids for ids, _ in wanted]
        assert [score for _, score in got] == pytest.approx([s for _, s in wanted], abs=1e-4)


@pytest.mark.parametrize("phrases", [((1, 2), (3, 3), (2, 1)), ((1, 1, 1), (2, 2, 2))], ids=str)
def test_phrases_that_never_fit_leave_the_least_missing(phrases: tuple[Ids, ...]) -> None:
    settings = replace(EXACT, max_length=4, num_return=1)
    tables = random_tables(4, 4, seed=2)
    found = find(tables, settings, [request(key, phrases=phrases) for key in range(4)])
    for key, table in enumerate(tables):
        every = [pair for pair in brute_force(table, settings) if len(pair[0]) == 4]
        fewest = min(num_missing(ids, phrases) for ids, _ in every)
        assert fewest > 0
        wanted, score = next(pair for pair in every if num_missing(pair[0], phrases) == fewest)
        best = found[key].hypotheses[0]
        assert best.ids == wanted
        assert best.score == pytest.approx(score + fewest * FORBIDDEN, abs=1e-2)


def random_phrases(generator: random.Random, vocabulary: int) -> tuple[Ids, ...]:
    """Their first tokens are none that go on with a word."""
    return tuple(
        (
            generator.randrange(1, vocabulary - 2),
            *(generator.randrange(1, vocabulary) for _ in range(generator.randint(0, 2))),
        )
        for _ in range(generator.randint(1, 3))
    )


GOING_ON = WordMarks(open=frozenset(range(1, 9)), continuing=frozenset({7, 8}))


@pytest.mark.parametrize("beam_size", [1, 2, 4, 7])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ngram_size": 1},
        {"ngram_size": 2},
        {"min_length": 8},
        {"repetition_penalty": 1.5},
        {"word_marks": GOING_ON},
    ],
    ids=str,
)
def test_every_best_output_holds_its_phrases(beam_size: int, options: dict[str, Any]) -> None:
    """Even where the maximum length leaves no room for anything else."""
    generator = random.Random(3)
    tables = random_tables(40, 9, seed=3)
    requests = [request(key, phrases=random_phrases(generator, 9)) for key in range(40)]
    for each in requests:
        settings = SearchSettings(
            beam_size=beam_size,
            max_length=sum(map(len, each.phrases)) + generator.choice([0, 1, 5]),
            eos_id=EOS,
            **options,
        )
        settings = replace(settings, min_length=min(settings.min_length, settings.max_length))
        best = find(tables, settings, [each])[each.key].hypotheses[0]
        assert num_missing(best.ids, each.phrases, settings.word_marks) == 0


def test_a_prefix_may_hold_a_phrase_or_begin_one() -> None:
    tables = random_tables(1, 4, seed=4)
    for prefix in [(1,), (1, 2), (3, 1), (2, 2, 1)]:
        settings = replace(EXACT, num_return=3)
        phrases = ((1, 2),)
        found = find(tables, settings, [request(0, prefix, phrases)])[0]
        wanted = [
            pair
            for pair in with_phrases(tables[0], settings, phrases)
            if pair[0][: len(prefix)] == prefix
        ][:3]
        assert [ids for ids, _ in pairs(found)] == [ids for ids, _ in wanted]
        assert [score for _, score in pairs(found)] == pytest.approx([s for _, s in wanted])


def test_what_a_phrase_needs_is_never_blocked_as_an_ngram() -> None:
    """Against brute force that lets pass what goes on with a missing phrase."""
    size, phrases = 2, ((1, 1, 1), (2,))

    def next_of(before: Ids, phrase: Ids) -> int:
        return phrase[max(n for n in range(len(phrase)) if before[len(before) - n :] == phrase[:n])]

    def blocked(before: Ids, token: int, score: float) -> float:
        grams = [before[at : at + size] for at in range(len(before) - size + 1)]
        wanted = {next_of(before, each) for each in phrases if num_missing(before, [each])}
        repeats = (*before[len(before) - size + 1 :], token) in grams
        return score + FORBIDDEN if repeats and token not in wanted else score

    tables = random_tables(5, 4, seed=5)
    settings = replace(EXACT, ngram_size=size, num_return=5)
    found = find(tables, settings, [request(key, phrases=phrases) for key in range(5)])
    for key, table in enumerate(tables):
        wanted = [
            pair
            for pair in brute_force(table, settings, blocked)
            if not num_missing(pair[0], phrases)
        ][:5]
        assert [ids for ids, _ in pairs(found[key])] == [ids for ids, _ in wanted]


def test_the_batch_makes_no_difference() -> None:
    generator = random.Random(6)
    tables = random_tables(14, 8, seed=6)
    requests = [
        request(
            key,
            prefix=(1, 2)[: key % 3],
            phrases=random_phrases(generator, 8) if key % 2 else (),
        )
        for key in range(14)
    ]
    settings = SearchSettings(
        beam_size=5, max_length=12, eos_id=EOS, num_return=3, ngram_size=2, length_penalty=0.7
    )
    alone = {each.key: find(tables, settings, [each])[each.key] for each in requests}
    for batch in (14, 4):
        assert is_same(find(tables, settings, requests, batch=batch), alone)
        assert is_same(find(tables, settings, requests[::-1], batch=batch), alone)


def test_without_phrases_it_is_plain_beam_search() -> None:
    tables = random_tables(12, 9, seed=7)
    settings = SearchSettings(beam_size=4, max_length=9, eos_id=EOS, num_return=4, keep_trace=True)
    plain = find(tables, settings)
    beside = find(tables, settings, [*map(request, range(11)), request(11, phrases=((1, 2),))])
    del plain[11], beside[11]
    assert is_same(plain, beside)
    for key, result in plain.items():
        trace, other = result.trace, beside[key].trace
        assert trace is not None
        assert other is not None
        assert (trace.ids, trace.parents) == (other.ids, other.parents)


def test_it_is_needed_only_where_phrases_are() -> None:
    beams = PhraseBeams(EXACT, CPU)
    slots = [0, 1]
    beams.admit(slots, [request(0), request(1)])
    assert not beams.is_needed
    beams.admit(slots, [request(2), request(3, phrases=((1,),))])
    assert beams.is_needed
    beams.admit(slots[1:], [request(4)])
    assert not beams.is_needed


def test_what_is_wanted_next() -> None:
    beams = PhraseBeams(EXACT, CPU)
    beams.admit([1, 0], [request(0, phrases=((1, 1, 2), (3,))), request(1, phrases=((2,),))])
    progress = progress_of([[[2, 3], [1, 3]], [[1, 1, 1], [3, 2, 1]]])
    wanted = beams.wanted(progress)
    assert wanted is not None
    assert wanted.tolist() == [[[-1, -1], [2, -1]], [[2, 3], [1, -1]]]
