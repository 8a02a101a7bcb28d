"""The rules and selections of a run, and every option of generation against brute force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from s2s_ft.decode.rules.assembly import rules_of, settings_of
from s2s_ft.decode.rules.diverse import DiverseGroups
from s2s_ft.decode.rules.lexical import PhraseBeams
from s2s_ft.decode.rules.sampling import Sampling
from s2s_ft.decode.search.requests import FORBIDDEN
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.options.search import SearchOptions
from tests.unit.decode.chain import (
    CPU,
    EOS,
    Ids,
    TokenScore,
    brute_force,
    find,
    is_same,
    pairs,
    random_tables,
    request,
)

EXACT = SearchSettings(beam_size=4**4, max_length=5, eos_id=EOS, num_return=7)


def as_is(before: Ids, token: int, score: float) -> float:
    return score


def repetition(penalty: float) -> TokenScore:
    return lambda before, token, score: score * penalty if token in before else score


def bad_words(*words: Ids) -> TokenScore:
    def score(before: Ids, token: int, score: float) -> float:
        ids = (*before, token)
        bad = any(ids[len(ids) - len(word) :] == word for word in words)
        return score + FORBIDDEN if bad else score

    return score


def ngrams(size: int, ignored: Ids = ()) -> TokenScore:
    def score(before: Ids, token: int, score: float) -> float:
        grams = [before[at : at + size] for at in range(len(before) - size + 1)]
        gram = (*before[len(before) - size + 1 :], token)
        counts = len(gram) == size and not set(gram) & set(ignored)
        return score + FORBIDDEN if counts and gram in grams else score

    return score


def both(one: TokenScore, other: TokenScore) -> TokenScore:
    return lambda before, token, score: other(before, token, one(before, token, score))


OPTIONS: list[tuple[dict[str, Any], Callable[[Ids, int, float], float]]] = [
    ({"min_length": 0}, as_is),
    ({"min_length": 4}, as_is),
    ({"length_penalty": 1.4}, as_is),
    ({"length_reward": 1.5}, as_is),
    ({"length_reward": -0.7, "min_length": 2}, as_is),
    ({"repetition_penalty": 1.8}, repetition(1.8)),
    ({"repetition_penalty": 0.4, "length_penalty": 0.5}, repetition(0.4)),
    ({"bad_words": ((2,),)}, bad_words((2,))),
    ({"bad_words": ((1, 2), (3, 3, 3))}, bad_words((1, 2), (3, 3, 3))),
    ({"bad_words": ((1, EOS), (EOS,))}, bad_words((1, EOS))),
    ({"ngram_size": 1}, ngrams(1)),
    ({"ngram_size": 2, "ignore_ids": (2,)}, ngrams(2, (2,))),
    (
        {
            "repetition_penalty": 1.3,
            "ngram_size": 2,
            "bad_words": ((3, 1),),
            "min_length": 2,
            "length_reward": 0.4,
        },
        both(repetition(1.3), both(ngrams(2), bad_words((3, 1)))),
    ),
]


@pytest.mark.parametrize(("options", "score"), OPTIONS, ids=[str(each) for each, _ in OPTIONS])
def test_a_wide_beam_is_brute_force(options: dict[str, Any], score: TokenScore) -> None:
    tables = random_tables(4, 4, seed=1)
    settings = replace(EXACT, **options)
    for key, result in find(tables, settings, batch=3).items():
        wanted = brute_force(tables[key], settings, score)[: settings.num_return]
        assert [ids for ids, _ in pairs(result)] == [ids for ids, _ in wanted]
        assert [score for _, score in pairs(result)] == pytest.approx(
            [score for _, score in wanted], abs=1e-4
        )


EVERY_OPTION = [options for options, _ in OPTIONS] + [
    {"sample": True, "temperature": 0.8, "top_p": 0.9},
    {"num_groups": 2, "diversity_penalty": 0.5},
]


@pytest.mark.parametrize("options", EVERY_OPTION, ids=str)
def test_neither_batch_nor_order_changes_a_result(options: dict[str, Any]) -> None:
    """Requests of many lengths pass through small batches, so that all are at different steps."""
    tables = random_tables(16, 9, seed=2)
    settings = replace(EXACT, beam_size=4, num_return=4, max_length=12, **options)
    requests = [request(key, (5, 6, 7, 4)[: key % 4]) for key in range(16)]
    if options.get("sample") or options.get("num_groups"):
        mixed = requests
    else:
        mixed = [replace(each, phrases=((8, 4),) * (each.key % 3 == 1)) for each in requests]
    alone = {each.key: find(tables, settings, [each])[each.key] for each in mixed}
    for batch in (3, 16):
        assert is_same(find(tables, settings, mixed, batch=batch), alone)
        assert is_same(find(tables, settings, mixed[::-1], batch=batch), alone)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, PhraseBeams),
        ({"sample": True}, Sampling),
        ({"num_groups": 4, "diversity_penalty": 0.1}, DiverseGroups),
    ],
)
def test_the_selection(options: dict[str, Any], kind: type) -> None:
    settings = replace(EXACT, num_return=256, **options)
    assert isinstance(rules_of(settings, CPU, 4)[1], kind)


def test_only_what_is_asked_for_is_a_rule() -> None:
    def kinds(**options: Any) -> list[str]:
        rules, _ = rules_of(replace(EXACT, min_length=0, **options), CPU, 4)
        return [type(rule).__name__ for rule in rules]

    assert kinds() == ["ForcedPrefix"]
    assert kinds(ngram_size=3, bad_words=((1,),), repetition_penalty=1.1) == [
        "RepetitionPenalty",
        "RepeatedNgrams",
        "BadWords",
        "ForcedPrefix",
    ]


def test_a_bad_word_beyond_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="--bad_words"):
        rules_of(replace(EXACT, bad_words=((4,),)), CPU, 4)


def test_the_settings_are_those_of_the_options() -> None:
    options = SearchOptions(beam_size=6, num_return_sequences=2, length_reward=0.2).filled()
    settings = settings_of(options, max_length=9, eos_id=3, seed=5)
    assert (settings.beam_size, settings.num_return, settings.ngram_size) == (6, 2, 0)
    assert (settings.max_length, settings.eos_id, settings.seed) == (9, 3, 5)
    assert settings.length_reward == 0.2
    blocked = SearchOptions(forbid_duplicate_ngrams=True).filled()
    assert settings_of(blocked, max_length=9, eos_id=3).ngram_size == 3
    drawn = SearchOptions(do_sample=True, num_return_sequences=4, top_k=5).filled({"beam_size": 3})
    settings = settings_of(drawn, max_length=9, eos_id=3)
    assert (settings.sample, settings.beam_size, settings.num_return) == (True, 4, 4)
    assert settings.top_k == 5
