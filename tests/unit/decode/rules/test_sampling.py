"""Sampling: what is left over is what transformers' warpers leave, draws have the right
frequencies, and nothing but seed, request, sample and step decides them.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessor,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from s2s_ft.decode.rules import sampling
from s2s_ft.decode.rules.sampling import Sampling, warp
from s2s_ft.decode.search.requests import FORBIDDEN
from s2s_ft.decode.search.settings import SearchSettings
from tests.unit.decode.chain import (
    CPU,
    EOS,
    find,
    is_same,
    progress_of,
    random_tables,
    request,
)

SETTINGS = SearchSettings(beam_size=3, num_return=3, max_length=8, eos_id=EOS, sample=True, seed=7)


def random_logits(rows: int, vocabulary: int, seed: int, spread: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, vocabulary, generator=generator) * spread


def shares(scores: Tensor, settings: SearchSettings) -> Tensor:
    """[R, V] the probabilities that a draw follows."""
    leftovers = warp(scores.unsqueeze(0), settings)
    weights, tokens = leftovers.weights[0], leftovers.tokens
    if tokens is not None:
        weights = torch.zeros_like(scores).scatter_(-1, tokens[0], weights)
    return weights / weights.sum(-1, keepdim=True)


def theirs(logits: Tensor, warpers: list[LogitsProcessor]) -> Tensor:
    for warper in warpers:
        logits = warper(None, logits)
    return logits.softmax(-1)


WARPERS: dict[str, list[tuple[float, Any]]] = {
    "temperature": [(1.0, None), (0.6, TemperatureLogitsWarper), (1.7, TemperatureLogitsWarper)],
    "top_k": [(0, None), (1, TopKLogitsWarper), (7, TopKLogitsWarper), (500, TopKLogitsWarper)],
    "top_p": [
        (1.0, None),
        (0.1, TopPLogitsWarper),
        (0.5, TopPLogitsWarper),
        (0.95, TopPLogitsWarper),
    ],
    "min_p": [(0.0, None), (0.02, MinPLogitsWarper), (0.4, MinPLogitsWarper)],
    "typical_p": [(1.0, None), (0.2, TypicalLogitsWarper), (0.9, TypicalLogitsWarper)],
}


@pytest.mark.parametrize("vocabulary", [40, 1000])
@pytest.mark.parametrize("values", [{"top_k": 10}, {"top_p": 0.9}, {"top_k": 30, "top_p": 0.8}])
def test_two_tokens_as_likely_but_for_rounding(values: dict[str, Any], vocabulary: int) -> None:
    """Whichever of them comes out ahead, the same numbers draw the same tokens."""
    logits = random_logits(300, vocabulary, seed=3)
    logits[:, 7] = logits[:, 21] = logits.amax(-1) - 0.5
    numbers = torch.rand(1, 300, 1, generator=torch.Generator().manual_seed(1)).double()
    drawn = []
    for ahead in (7, 21):
        scores = logits.clone()
        scores[:, ahead] += 1e-6
        leftovers = warp(scores.log_softmax(-1).unsqueeze(0), replace(SETTINGS, **values))
        drawn.append(leftovers.draw(numbers))
    assert {7, 21} <= set(drawn[0].flatten().tolist())
    assert torch.equal(*drawn)


@pytest.mark.parametrize("vocabulary", [5, 40])
def test_every_mixture_of_warpers_is_transformers(vocabulary: int) -> None:
    logits = random_logits(12, vocabulary, seed=vocabulary)
    for mixture in itertools.product(*WARPERS.values()):
        values = {name: value for name, (value, _) in zip(WARPERS, mixture, strict=True)}
        warpers = [warper(value) for value, warper in mixture if warper is not None]
        ours = shares(logits.log_softmax(-1), replace(SETTINGS, **values))
        expected = theirs(logits, warpers)
        assert ours.gt(0).equal(expected.gt(0)), values
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6, msg=str(values))


@pytest.mark.parametrize(
    "values",
    [
        {"top_k": 50},
        {"top_k": 50, "top_p": 0.8, "typical_p": 0.7},
        {"top_p": 0.5},
        {"top_p": 0.97, "temperature": 0.5, "min_p": 0.01},
        {"top_p": 0.99999},
    ],
    ids=str,
)
@pytest.mark.parametrize("spread", [0.0, 0.01, 3.0, 30.0])
def test_sorting_only_a_part_is_sorting_all(
    values: dict[str, Any], spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ties among the last, with none, and with next to nothing besides the first."""
    scores = random_logits(4, 5000, seed=1, spread=spread).log_softmax(-1)
    scores = (scores * 8).round() / 8 if spread == 3.0 else scores
    settings = replace(SETTINGS, **values)
    part = shares(scores, settings)
    monkeypatch.setattr(sampling, "_WIDTHS", ())
    monkeypatch.setattr(sampling, "_SPARE", 5000)
    assert shares(scores, settings).equal(part)


def test_what_is_forbidden_is_never_drawn_however_hot() -> None:
    scores = random_logits(3, 20, seed=2).log_softmax(-1)
    scores[:, 5:] += FORBIDDEN
    ours = shares(scores, replace(SETTINGS, temperature=5000.0))
    assert ours[:, :5].gt(0.15).all()
    assert ours[:, 5:].eq(0).all()


def test_draws_have_their_frequencies() -> None:
    """20,000 first tokens of as many requests: chi-squared against what they are drawn from."""
    table = random_tables(1, 12, seed=3, spread=1.0)[0, 0, -1]
    for values in ({}, {"temperature": 1.5}, {"top_p": 0.7}, {"top_k": 4}, {"typical_p": 0.6}):
        settings = replace(SETTINGS, beam_size=4, num_return=4, **values)
        draw = Sampling(settings, CPU)
        slots = range(5000)
        draw.admit(slots, [request(key) for key in range(5000)])
        progress = progress_of([[[]]] * 5000)
        tokens = draw(table.expand(5000, 1, -1), progress).tokens
        counts = tokens.flatten().bincount(minlength=12).double()
        expected = shares(table[None], settings)[0].double() * 20000
        assert counts[expected == 0].eq(0).all()
        drawn = expected > 0
        statistic = ((counts - expected)[drawn] ** 2 / expected[drawn]).sum()
        assert float(statistic) < 31.3, values  # 0.1 % of draws go beyond, 11 degrees


@pytest.mark.parametrize("values", [{}, {"top_p": 0.8}, {"top_k": 3, "temperature": 2.0}], ids=str)
def test_the_batch_and_its_order_make_no_difference(values: dict[str, Any]) -> None:
    tables = random_tables(15, 9, seed=4)
    settings = replace(SETTINGS, ngram_size=2, min_length=2, **values)
    requests = [request(key, (4, 2)[: key % 3]) for key in range(15)]
    alone = {each.key: find(tables, settings, [each])[each.key] for each in requests}
    for batch in (15, 4):
        assert is_same(find(tables, settings, requests, batch=batch), alone)
        assert is_same(find(tables, settings, requests[::-1], batch=batch), alone)
    outputs = {hypothesis.ids for result in alone.values() for hypothesis in result.hypotheses}
    assert len(outputs) > 30


def test_a_sample_is_itself_among_any_number_of_them() -> None:
    tables = random_tables(6, 9, seed=5)
    few, many = (
        find(tables, replace(SETTINGS, beam_size=count, num_return=count)) for count in (1, 5)
    )
    for key, result in few.items():
        assert result.hypotheses[0] in many[key].hypotheses
        assert len(many[key].hypotheses) == 5


def test_the_seed_decides() -> None:
    tables = random_tables(6, 9, seed=6)
    assert find(tables, SETTINGS) == find(tables, SETTINGS)
    assert find(tables, SETTINGS) != find(tables, replace(SETTINGS, seed=8))


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_log_probabilities_are_the_models_own(temperature: float) -> None:
    tables = random_tables(6, 9, seed=7)
    for key, result in find(tables, replace(SETTINGS, temperature=temperature, top_k=4)).items():
        for hypothesis in result.hypotheses:
            ids = [*hypothesis.ids, *[EOS] * hypothesis.finished]
            own = [
                float(tables[key, place, previous, token])
                for place, (previous, token) in enumerate(zip([-1, *ids], ids, strict=False))
            ]
            assert hypothesis.token_log_probabilities == pytest.approx(own, abs=1e-5)
            assert hypothesis.log_probability == pytest.approx(sum(own), abs=1e-5)


def test_a_cold_draw_is_the_greedy_search() -> None:
    tables = random_tables(8, 9, seed=8)
    greedy = find(tables, SearchSettings(beam_size=1, max_length=8, eos_id=EOS))
    for values in ({"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        cold = find(tables, replace(SETTINGS, beam_size=1, num_return=1, **values))
        assert is_same(cold, greedy)


def test_samples_keep_their_places_and_end_for_good() -> None:
    draw = Sampling(SETTINGS, CPU)
    draw.admit([0, 1], [request(0), request(1)])
    progress = progress_of([[[1, EOS], [2, 1], [3, EOS]], [[1, 1], [2, 2], [3, 3]]])
    choice = draw(torch.zeros(2, 3, 9).log_softmax(-1), progress)
    assert choice.parents.tolist() == [[0, 1, 2]] * 2
    assert choice.tokens[0, [0, 2]].tolist() == [EOS, EOS]
    assert choice.totals[0, [0, 2]].lt(FORBIDDEN / 2).all()
    assert choice.totals[1].gt(FORBIDDEN / 2).all()
