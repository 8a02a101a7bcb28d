"""Diverse beam search against a plain implementation of the paper's algorithm."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

from s2s_ft.decode.search.hypotheses import ranked
from s2s_ft.decode.search.requests import FORBIDDEN
from s2s_ft.decode.search.settings import SearchSettings
from tests.unit.decode.chain import EOS, Ids, find, is_same, random_tables

Beam = tuple[float, Ids]


def plain(table: Tensor, settings: SearchSettings) -> list[Beam]:
    """All outputs that any group finds, best first and each once: group after group within a
    step.
    """
    log, size = table.tolist(), settings.beam_size // settings.num_groups
    groups: list[list[Beam]] = [[(0.0, ())] for _ in range(settings.num_groups)]
    found: list[Beam] = []
    for place in range(settings.max_length):
        chosen: Counter[int] = Counter()
        for number, beams in enumerate(groups):
            candidates = [
                (total + log[place][ids[-1] if ids else -1][token], (*ids, token))
                for total, ids in beams
                for token in range(table.shape[-1])
                if not (token == EOS and place < settings.min_length)
            ]
            candidates = [
                (total - settings.diversity_penalty * chosen[ids[-1]], ids)
                for total, ids in candidates
            ]
            best = sorted(candidates, reverse=True)[:size]
            chosen.update(ids[-1] for _, ids in best)
            last = place == settings.max_length - 1
            found += [beam for beam in best if beam[1][-1] == EOS or last]
            groups[number] = [beam for beam in best if beam[1][-1] != EOS]
    scored = [(ranked(total, len(ids), settings), ids) for total, ids in found]
    every = sorted(scored, reverse=True)
    return [
        beam for place, beam in enumerate(every) if beam[1] not in {e[1] for e in every[:place]}
    ]


@pytest.mark.parametrize(
    ("beam_size", "num_groups", "penalty"),
    [(2, 2, 0.5), (4, 2, 0.3), (4, 4, 1.0), (6, 3, 5.0), (6, 2, 0.05), (6, 6, 0.4)],
)
@pytest.mark.parametrize("options", [{}, {"length_penalty": 1.1}, {"min_length": 3}], ids=str)
def test_it_is_the_plain_algorithm(
    beam_size: int, num_groups: int, penalty: float, options: dict[str, Any]
) -> None:
    tables = random_tables(15, 8, seed=beam_size)
    settings = SearchSettings(
        beam_size=beam_size,
        max_length=7,
        eos_id=EOS,
        num_groups=num_groups,
        diversity_penalty=penalty,
        num_return=beam_size,
        **options,
    )
    for key, result in find(tables, settings).items():
        wanted = plain(tables[key], settings)[:beam_size]
        got = [each for each in result.hypotheses if each.log_probability > FORBIDDEN / 2]
        assert [(*each.ids, *[EOS] * each.finished) for each in got] == [ids for _, ids in wanted]
        assert [each.score for each in got] == pytest.approx([s for s, _ in wanted], abs=1e-4)


def test_the_batch_makes_no_difference() -> None:
    tables = random_tables(12, 8, seed=1)
    settings = SearchSettings(
        beam_size=6, max_length=8, eos_id=EOS, num_groups=3, diversity_penalty=0.7, num_return=6
    )
    alone = {key: find(tables[[key]], settings)[0] for key in range(12)}
    for batch in (12, 5):
        assert is_same(find(tables, settings, batch=batch), alone)


def test_without_a_penalty_the_groups_find_what_one_of_them_finds() -> None:
    """None of it comes twice, and nothing is made up to have as many as were asked for."""
    tables = random_tables(8, 8, seed=2)
    settings = SearchSettings(beam_size=3, max_length=8, eos_id=EOS, num_return=3, keep_trace=True)
    single = find(tables, settings)
    groups = find(tables, replace(settings, beam_size=6, num_groups=2, num_return=6))
    for key, result in groups.items():
        ids = [each.ids for each in result.hypotheses]
        assert ids[:3] == [each.ids for each in single[key].hypotheses]
        assert len(set(ids)) == len(ids)


def test_groups_of_more_beams_than_tokens() -> None:
    settings = SearchSettings(
        beam_size=8, max_length=3, eos_id=EOS, num_groups=2, diversity_penalty=0.5, num_return=2
    )
    tables = random_tables(4, 3, seed=3)
    for key, result in find(tables, settings).items():
        wanted = [ids for _, ids in plain(tables[key], settings)][:2]
        assert [(*each.ids, *[EOS] * each.finished) for each in result.hypotheses] == wanted
