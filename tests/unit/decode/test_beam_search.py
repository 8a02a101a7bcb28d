"""Beam search against brute force and by hand, on a Markov chain as the model; and against itself
in other batches.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from s2s_ft.decode.beam_search import SearchResult, SearchSettings, length_divisor, search
from s2s_ft.decode.constraints import FORBIDDEN

EOS = 0


class Markov:
    """The next token's probabilities depend on the last token and the example: [B, V + 1, V], row
    V for the start.
    """

    def __init__(self, tables: Tensor) -> None:
        self.tables = tables.log()

    def step(self, last: Tensor | None) -> Tensor:
        start = self.tables.shape[2]
        index = torch.full((len(self.tables), 1), start) if last is None else last
        return self.tables.gather(1, index.unsqueeze(-1).expand(-1, -1, start))

    def reorder(self, parents: Tensor) -> None:
        pass

    def keep(self, examples: Tensor) -> None:
        self.tables = self.tables[examples]


def random_tables(examples: int, vocabulary: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(examples, vocabulary + 1, vocabulary, generator=generator).mul(1.5).softmax(-1)
    )


def run(tables: Tensor, settings: SearchSettings) -> list[SearchResult]:
    return search(Markov(tables), len(tables), settings)


def repeats(ids: tuple[int, ...], size: int, ignored: tuple[int, ...]) -> bool:
    """Whether a sequence holds an n-gram twice, ignored tokens not counted."""
    grams = [ids[i : i + size] for i in range(len(ids) - size + 1)]
    seen: set[tuple[int, ...]] = set()
    for gram in grams:
        if gram in seen and not set(gram) & set(ignored):
            return True
        seen.add(gram)
    return False


def brute_force(
    table: Tensor, settings: SearchSettings, count: int
) -> list[tuple[tuple[int, ...], float]]:
    """Every allowed output, best first."""
    vocabulary = table.shape[1]
    log = table.log()
    others = [token for token in range(vocabulary) if token != EOS]
    found = []
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
                found.append((ids, total / length_divisor(length, settings.length_penalty)))
    found.sort(key=lambda pair: -pair[1])
    return [(ids[:-1] if ids[-1] == EOS else ids, score) for ids, score in found[:count]]


OPTIONS = [
    {},
    {"length_penalty": 0.9},
    {"length_penalty": 2.0},
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
        wanted = brute_force(table, settings, 7)
        got = [
            hypothesis
            for hypothesis in result.hypotheses
            if hypothesis.log_probability > FORBIDDEN / 2
        ]
        assert [hypothesis.ids for hypothesis in got] == [ids for ids, _ in wanted]
        assert [hypothesis.score for hypothesis in got] == pytest.approx(
            [score for _, score in wanted], abs=1e-4
        )


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


def test_batch_makes_no_difference() -> None:
    tables = random_tables(12, 6, seed=3)
    settings = SearchSettings(
        beam_size=4, max_length=8, eos_id=EOS, num_return=3, length_penalty=0.7, ngram_size=2
    )
    together = run(tables, settings)
    alone = [run(tables[[row]], settings)[0] for row in range(len(tables))]
    assert together == alone
    order = [5, 0, 11, 3, 7, 1, 10, 2, 4, 9, 8, 6]
    assert run(tables[order], settings) == [together[row] for row in order]


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
