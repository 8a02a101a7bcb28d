"""Beam search against brute force and by hand, on a Markov chain as the model; and against itself
in other batches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from s2s_ft.decode.search.beam_search import search
from s2s_ft.decode.search.hypotheses import ranked
from s2s_ft.decode.search.requests import FORBIDDEN, Budget, NonFiniteScores, Request
from s2s_ft.decode.search.settings import SearchSettings
from tests.unit.decode.chain import EOS
from tests.unit.decode.markov import Markov, plan_of, random_tables, requests_of, run


def repeats(ids: tuple[int, ...], size: int, ignored: tuple[int, ...]) -> bool:
    """Whether a sequence holds an n-gram twice, ignored tokens not counted."""
    grams = [ids[i : i + size] for i in range(len(ids) - size + 1)]
    seen: set[tuple[int, ...]] = set()
    for gram in grams:
        if gram in seen and not set(gram) & set(ignored):
            return True
        seen.add(gram)
    return False


def brute_force(table: Tensor, settings: SearchSettings) -> dict[tuple[int, ...], float]:
    """Every allowed output and what it is ranked by."""
    vocabulary = table.shape[1]
    log = table.log()
    others = [token for token in range(vocabulary) if token != EOS]
    found = {}
    for length in range(1, settings.max_length + 1):
        for body in itertools.product(others, repeat=length - 1):
            endings = [(*body, EOS)] if length > settings.min_length else []
            if length == settings.max_length:
                endings += [(*body, last) for last in others]
            for ids in endings:
                if settings.ngram_size and repeats(ids, settings.ngram_size, settings.ignore_ids):
                    continue
                total = sum(
                    log[previous, token].item()
                    for previous, token in zip((vocabulary, *ids), ids, strict=False)
                )
                found[ids[:-1] if ids[-1] == EOS else ids] = ranked(total, length, settings)
    return found


OPTIONS = [
    {},
    {"length_penalty": 0.9},
    {"length_penalty": 2.0},
    {"length_reward": 0.8},
    {"length_reward": -0.5},
    {"min_length": 3},
    {"ngram_size": 1},
    {"ngram_size": 2},
    {"ngram_size": 2, "ignore_ids": (2,)},
    {"ngram_size": 3, "length_penalty": 1.5, "min_length": 2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("keep_trace", [False, True])
def test_a_wide_beam_is_brute_force(options: dict[str, object], keep_trace: bool) -> None:
    tables = random_tables(6, 4, seed=1)
    settings = replace(
        SearchSettings(
            beam_size=4**4, max_length=5, eos_id=EOS, num_return=7, keep_trace=keep_trace
        ),
        **options,
    )
    for table, result in zip(tables, run(tables, settings), strict=True):
        wanted = brute_force(table, settings)
        got = [
            hypothesis
            for hypothesis in result.hypotheses
            if hypothesis.log_probability > FORBIDDEN / 2
        ]
        best = sorted(wanted.values(), reverse=True)[:7]
        assert [hypothesis.score for hypothesis in got] == pytest.approx(best, abs=1e-4)
        # Outputs that are equally good may come in any order.
        assert len({hypothesis.ids for hypothesis in got}) == len(got)
        for hypothesis in got:
            assert hypothesis.score == pytest.approx(wanted[hypothesis.ids], abs=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("beam_size", [1, 2, 3, 5])
def test_stopping_early_changes_nothing(options: dict[str, object], beam_size: int) -> None:
    """The exact stop rule against searching on until every beam has ended."""
    tables = random_tables(40, 7, seed=2)
    settings = replace(
        SearchSettings(beam_size=beam_size, max_length=9, eos_id=EOS, num_return=beam_size),
        **options,
    )
    early = run(tables, settings)
    late = run(tables, replace(settings, keep_trace=True))
    assert [result.hypotheses for result in early] == [result.hypotheses for result in late]


WAYS = [
    {"batch": 1},
    {"batch": 5, "refill_share": 1.0},
    {"batch": 5, "refill_share": 0.0},
    {"batch": 5, "refill_share": 0.0, "shrink_share": 2.0},
    {"batch": 7, "refill_share": 0.4, "shrink_share": 0.3},
    {"lag": 1},
    {"batch": 5, "lag": 3, "refill_share": 0.0},
    {"batch": 4, "lag": 2, "shrink_share": 2.0},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("keep_trace", [False, True])
def test_company_and_lateness_make_no_difference(way: dict[str, object], keep_trace: bool) -> None:
    """Who else is in the batch, when an example came and how late it is known to be decided."""
    tables = random_tables(23, 6, seed=3)
    settings = SearchSettings(
        beam_size=4,
        max_length=8,
        eos_id=EOS,
        num_return=3,
        length_penalty=0.7,
        ngram_size=2,
        keep_trace=keep_trace,
    )
    together = run(tables, settings)
    assert run(tables, settings, **way) == together
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0)).tolist()
    assert run(tables[order], settings, **way) == [together[row] for row in order]


def test_requests_are_pulled_as_room_comes_free() -> None:
    pulled = []

    def source() -> Iterator[Request]:
        for request in requests_of(12):
            pulled.append(request.key)
            yield request

    settings = SearchSettings(beam_size=2, max_length=6, eos_id=EOS)
    tables = random_tables(12, 5, seed=5)
    done = 0
    for _ in search(Markov(tables), source(), plan_of(settings, 5, batch=3, refill_share=0.0)):
        done += 1
        assert len(pulled) <= done + 3
    assert done == len(pulled) == 12


def test_a_pause_between_requests_holds_nobody_up() -> None:
    """None says that nothing waits: those in the batch are finished before the source goes on."""
    finished: list[int] = []

    def source() -> Iterator[Request | None]:
        first, second = requests_of(2)
        yield first
        while first.key not in finished:
            yield None
        yield second

    settings = SearchSettings(beam_size=2, max_length=6, eos_id=EOS)
    for request, _ in search(Markov(random_tables(2, 5, seed=6)), source(), plan_of(settings, 5)):
        finished.append(request.key)
    assert finished == [0, 1]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_who_leaves_early_makes_no_difference(way: dict[str, object]) -> None:
    """Every third request is not wanted any more after some steps, at its first or at its last."""
    tables = random_tables(23, 6, seed=3)
    settings = SearchSettings(beam_size=4, max_length=8, eos_id=EOS, num_return=3)
    looks: dict[int, int] = {}

    def is_wanted(request: Request) -> bool:
        looks[request.key] = looks.get(request.key, 0) + 1
        return request.key % 3 > 0 or looks[request.key] <= request.key

    plan = plan_of(settings, 6, is_wanted=is_wanted, **way)
    found = [(each.key, result) for each, result in search(Markov(tables), requests_of(23), plan)]
    wanted = run(tables, settings)
    assert all(result == wanted[key] for key, result in found)
    others = [key for key in range(23) if key % 3]
    assert sorted(key for key, _ in found if key % 3) == others
    assert len(others) < len(found) < 23


def test_token_budget_limits_the_batch() -> None:
    settings = SearchSettings(beam_size=2, max_length=6, eos_id=EOS)
    tables = random_tables(9, 5, seed=7)
    model = Markov(tables)
    plan = plan_of(settings, 5)
    requests = [Request(key, np.zeros(4, dtype=np.int64)) for key in range(9)]
    plan = replace(plan, budget=Budget(9, max_tokens=3 * (4 + 2 * 6)))
    assert len(dict.fromkeys(request.key for request, _ in search(model, requests, plan))) == 9
    assert model.most_rows == 3
    tight = replace(plan, budget=Budget(9, max_tokens=1))
    assert len(list(search(Markov(tables), requests, tight))) == 9


@pytest.mark.parametrize("lag", [0, 3])
def test_scores_that_are_no_numbers_name_their_request(lag: int) -> None:
    tables = random_tables(4, 5, seed=8)
    tables[2] = math.nan
    settings = SearchSettings(beam_size=2, max_length=6, eos_id=EOS)
    with pytest.raises(NonFiniteScores, match="row 3") as caught:
        run(tables, settings, lag=lag)
    assert caught.value.request.key == 2


def test_token_log_probabilities_are_those_of_the_model() -> None:
    tables = random_tables(6, 5, seed=9)
    settings = SearchSettings(
        beam_size=3, max_length=7, eos_id=EOS, num_return=3, length_penalty=1.0
    )
    for table, result in zip(tables, run(tables, settings), strict=True):
        for hypothesis in result.hypotheses:
            ids = [*hypothesis.ids, *([EOS] if hypothesis.finished else [])]
            wanted = [
                table[before, token].log().item()
                for before, token in zip([-1, *ids], ids, strict=False)
            ]
            assert hypothesis.token_log_probabilities == pytest.approx(wanted, abs=1e-5)
            assert sum(wanted) == pytest.approx(hypothesis.log_probability, abs=1e-5)


def test_known_best_path() -> None:
    """A chain drawn by hand: greedy search takes 1 (0.6) and ends at 0.6 * 0.4, the best path is 2
    (0.4) -> end.

    start -0.6-> 1 -0.4-> end        start -0.4-> 2 -1.0-> end
                 1 -0.3-> 1, -0.3-> 2
    """
    table = torch.tensor([[1e-9, 1.0, 1e-9], [0.4, 0.3, 0.3], [1.0, 1e-9, 1e-9], [1e-9, 0.6, 0.4]])
    settings = SearchSettings(beam_size=1, max_length=4, eos_id=EOS)
    (greedy,) = run(table[None], settings)
    assert greedy.hypotheses[0].ids == (1,)
    (beam,) = run(table[None], replace(settings, beam_size=2))
    assert beam.hypotheses[0].ids == (2,)
    assert beam.hypotheses[0].log_probability == pytest.approx(math.log(0.4), abs=1e-5)
    assert beam.hypotheses[0].finished


def test_maximum_length_leaves_a_hypothesis_unfinished() -> None:
    table = torch.tensor([[1e-9, 1.0], [1e-9, 1.0], [1e-9, 1.0]])
    (result,) = run(table[None], SearchSettings(beam_size=1, max_length=3, eos_id=EOS))
    assert result.hypotheses[0].ids == (1, 1, 1)
    assert not result.hypotheses[0].finished


def test_trace_holds_every_step() -> None:
    settings = SearchSettings(beam_size=3, max_length=6, eos_id=EOS, keep_trace=True)
    for result in run(random_tables(5, 5, seed=4), settings):
        trace = result.trace
        assert trace is not None
        assert len(trace.ids) == len(trace.scores) == len(trace.parents)
        assert all(token == EOS for token in trace.ids[-1]) or len(trace.ids) == 6
        assert trace.parents[0] == [0, 0, 0]
