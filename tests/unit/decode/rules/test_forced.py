"""Forced prefixes: against brute force, in mixed batches, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from s2s_ft.decode.rules.forced import ForcedPrefix, SlotTable, check_request
from s2s_ft.decode.rules.words import holds
from s2s_ft.decode.search.requests import FORBIDDEN
from s2s_ft.decode.search.settings import SearchSettings
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

EXACT = SearchSettings(beam_size=4**4, max_length=5, eos_id=EOS, num_return=5)


@pytest.mark.parametrize("prefix", [(1,), (3, 3), (2, 1, 2), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"min_length": 4}, {"ngram_size": 1}, {"length_penalty": 1.3, "ngram_size": 2}],
    ids=str,
)
def test_a_wide_beam_is_brute_force(prefix: Ids, options: dict[str, Any]) -> None:
    """Scores are the model's own, and what is forced is never blocked."""
    tables = random_tables(3, 4, seed=1)
    settings = replace(EXACT, **options)

    def score(before: Ids, token: int, score: float) -> float:
        place, size = len(before), settings.ngram_size
        if place < len(prefix):
            return score if token == prefix[place] else FORBIDDEN
        grams = [before[at : at + size] for at in range(place - size + 1)]
        repeats = size > 0 and (*before[place - size + 1 :], token) in grams
        return score + FORBIDDEN if repeats else score

    found = find(tables, settings, [request(key, prefix) for key in range(3)])
    for key, table in enumerate(tables):
        wanted = brute_force(table, settings, score)[: settings.num_return]
        assert [ids for ids, _ in pairs(found[key])] == [ids for ids, _ in wanted]
        assert [score for _, score in pairs(found[key])] == pytest.approx(
            [score for _, score in wanted], abs=1e-4
        )


@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_batch_makes_no_difference(beam_size: int) -> None:
    tables = random_tables(12, 7, seed=2)
    requests = [request(key, (3, 1, 4, 1, 5)[: key % 6]) for key in range(12)]
    settings = SearchSettings(beam_size=beam_size, max_length=9, eos_id=EOS, ngram_size=3)
    alone = {each.key: find(tables, settings, [each])[each.key] for each in requests}
    for batch in (12, 5, 2):
        assert is_same(find(tables, settings, requests[::-1], batch=batch), alone)
    for each in requests:
        assert alone[each.key].hypotheses[0].ids[: len(each.prefix)] == each.prefix


def test_nothing_is_changed_once_prefixes_are_over() -> None:
    rule = ForcedPrefix(EXACT, 6, CPU)
    rule.admit([0, 1], [request(0), request(1)])
    assert rule.wanted(progress_of([[[]], [[]]])) is None
    rule.admit([1], [request(2, (4, 5))])
    begin = rule.edits(progress_of([[[]], [[]]]))
    assert begin is not None
    assert begin.amounts[0].eq(0).all()
    assert begin.amounts[1, 0].tolist() == [FORBIDDEN] * 4 + [0.0, FORBIDDEN]
    assert rule.edits(progress_of([[[1, 2, 3]], [[4, 5]]])) is None
    rule.admit([1], [request(3)])  # another request takes the slot
    assert rule.wanted(progress_of([[[]], [[]]])) is None


def test_a_table_forgets_what_left() -> None:
    table = SlotTable(CPU)
    table.fill([0, 3], [((1, 2), (3,)), ((4,),)])
    assert table.rows(torch.tensor([3, 0, 1, 9])).tolist() == [
        [[4, -1], [-1, -1]],
        [[1, 2], [3, -1]],
        [[-1, -1], [-1, -1]],
        [[-1, -1], [-1, -1]],
    ]
    table.fill([0], [((7,),)])
    assert table.rows(torch.tensor([0, 3])).tolist() == [[[7]], [[4]]]
    table.fill([0, 3], [(), ()])
    assert table.is_empty


@pytest.mark.parametrize(
    ("prefix", "phrases", "options", "words"),
    [
        ((1,) * 5, (), {}, ["5 tokens", "--max_tgt_length 5"]),
        ((1, EOS), (), {}, ["prefix", "end token"]),
        ((), ((EOS,),), {}, ["force_words", "end token"]),
        ((), ((),), {}, ["force_words", "empty"]),
        ((), ((1,),), {"sample": True}, ["force_words", "--do_sample"]),
        ((), ((1,),), {"num_groups": 2}, ["force_words", "--num_beam_groups"]),
        ((), ((1, 2, 3),), {"bad_words": ((2, 3),)}, ["force_words", "--bad_words"]),
        ((1, 2), (), {"bad_words": ((2,),)}, ["prefix", "--bad_words"]),
    ],
)
def test_what_cannot_be_is_refused(
    prefix: Ids, phrases: tuple[Ids, ...], options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"prefix|force_words") as caught:
        check_request(request(7, prefix, phrases), replace(EXACT, **options))
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_phrases_that_are_too_long_together_are_no_mistake() -> None:
    asked = request(0, (1,), ((1, 2, 3), (2, 2, 1)))
    check_request(asked, EXACT)
    best = find(random_tables(1, 4, seed=3), EXACT, [asked])[0].hypotheses[0]
    assert best.ids[:1] == (1,)
    assert [holds(best.ids, phrase) for phrase in asked.phrases].count(True) == 1
