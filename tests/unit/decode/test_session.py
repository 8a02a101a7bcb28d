"""Decoding with a model: the batch, its order, its padding and who joins it change no hypothesis;
scores are true probabilities; what runs out of memory is searched again.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.torch_version import TorchVersion

from s2s_ft.cli import EnvironmentFault
from s2s_ft.corruption import Corruption
from s2s_ft.decode import session
from s2s_ft.decode.search.beam_search import SearchResult
from s2s_ft.decode.search.isolation import isolated
from s2s_ft.decode.search.requests import Budget, MemoryTooSmall, NonFiniteScores, Request
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.decode.session import generate, generate_batch
from s2s_ft.methods import METHODS, Method, PseudoMask
from s2s_ft.model import cache, columns, encode_pass
from s2s_ft.model.int8 import quantize_linear_layers
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import SpecialIds
from tests.conftest import FAMILIES, VOCABULARY

SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=len(VOCABULARY))

SETTINGS = SearchSettings(
    beam_size=4, max_length=8, eos_id=3, num_return=4, length_penalty=0.8, ngram_size=3
)


def sources(method: Method) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [method.source(rng.integers(5, len(VOCABULARY), size)) for size in (3, 17, 9, 1, 12)]


def same(left: list[SearchResult], right: list[SearchResult]) -> None:
    for one, other in zip(left, right, strict=True):
        assert [hypothesis.ids for hypothesis in one.hypotheses] == [
            hypothesis.ids for hypothesis in other.hypotheses
        ]
        scores = [hypothesis.score for hypothesis in other.hypotheses]
        assert [hypothesis.score for hypothesis in one.hypotheses] == pytest.approx(
            scores, abs=1e-4
        )


def decoded(
    model: Seq2SeqModel, method: Method, rows: list[np.ndarray], budget: Budget, **how: Any
) -> list[SearchResult]:
    """Results in the order of the rows; each must come once."""
    requests = [Request(key, row) for key, row in enumerate(rows)]
    found = list(generate(model, method, requests, SETTINGS, budget=budget, **how))
    assert sorted(request.key for request, _ in found) == list(range(len(rows)))
    results = {request.key: result for request, result in found}
    return [results[key] for key in range(len(rows))]


BUDGETS = [
    Budget(1),
    Budget(2, refill_share=0.0),
    Budget(3, refill_share=1.0),
    Budget(5, max_tokens=100, refill_share=0.0),
]


@pytest.mark.parametrize("method_class", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_batch_order_and_joining_make_no_difference(
    tiny_checkpoint: Callable[[str], Path],
    family: str,
    method_class: type[Method],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(columns, "_steps_between", lambda *_: 3)  # laid out anew now and then
    monkeypatch.setattr(cache, "WORTH_SAVING", 0)  # each length has a bucket of its own
    monkeypatch.setattr(encode_pass, "WORTH_SAVING", 0)  # sources are taken in several rectangles
    model = load_finetuned(str(tiny_checkpoint(family)))
    method = method_class(SPECIAL, 20, 8)
    rows = sources(method)
    together = generate_batch(model, method, rows, SETTINGS)
    for budget in BUDGETS:
        same(decoded(model, method, rows, budget), together)
    order = [4, 2, 0, 3, 1]
    same(
        decoded(model, method, [rows[index] for index in order], BUDGETS[1]),
        [together[index] for index in order],
    )


@pytest.mark.skipif(torch.__version__ < "2.7", reason="older ones are refused")
def test_compiled_steps_give_the_same(tiny_checkpoint: Callable[[str], Path]) -> None:
    model = load_finetuned(str(tiny_checkpoint("bert")))
    method = PseudoMask(SPECIAL, 20, 8)
    rows = sources(method)
    budget = Budget(3, refill_share=0.0, compile=True)
    same(decoded(model, method, rows, budget), generate_batch(model, method, rows, SETTINGS))


@pytest.mark.parametrize(
    ("release", "cause"),
    [("2.6.0", r"torch 2\.7"), ("2.13.0", r"torch cannot compile here \(no C\+\+ compiler\)")],
)
def test_a_machine_that_cannot_compile_is_told(
    tiny_checkpoint: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    release: str,
    cause: str,
) -> None:
    def refuse(*_arguments: Any) -> None:
        raise RuntimeError("no C++ compiler\nat all")

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "__version__", TorchVersion(release))
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=refuse))
    model = load_finetuned(str(tiny_checkpoint("bert")))
    method = PseudoMask(SPECIAL, 20, 8)
    with pytest.raises(EnvironmentFault, match=f"--torch_compile: {cause}") as caught:
        decoded(model, method, sources(method), Budget(3, refill_share=0.0, compile=True))
    assert "\n" not in str(caught.value)
    torch._dynamo.reset()


def test_where_memory_runs_out_the_rest_is_searched_in_smaller_batches(
    tiny_checkpoint: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = load_finetuned(str(tiny_checkpoint("bert")))
    method = PseudoMask(SPECIAL, 20, 8)
    rows = sources(method) * 3
    wanted = generate_batch(model, method, rows, SETTINGS)
    real, calls = session.ModelStepper.step, []

    def step(self: session.ModelStepper, last: torch.Tensor) -> torch.Tensor:
        calls.append(len(last))
        if len(last) > 2 and len(calls) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, last)

    monkeypatch.setattr(session.ModelStepper, "step", step)
    with caplog.at_level(logging.WARNING):
        same(decoded(model, method, rows, Budget(8)), wanted)
    told = [record for record in caplog.records if "memory" in record.message]
    assert [record.args for record in told] == [(4,), (2,)]
    calls.clear()
    monkeypatch.setattr(
        session.ModelStepper, "admit", lambda *_: (_ for _ in ()).throw(MemoryError())
    )
    longest = max(range(8), key=lambda row: len(rows[row]))
    told_row = f"input row {longest + 1}: memory does not hold it"
    with pytest.raises(MemoryTooSmall, match=told_row) as caught:
        decoded(model, method, rows, Budget(8))
    assert caught.value.request.key == longest


def test_tables_beyond_memory_are_told_of_with_their_flags(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    model = load_finetuned(str(tiny_checkpoint("bert")))
    method = PseudoMask(SPECIAL, 20, 2)
    settings = SearchSettings(beam_size=10**10, max_length=2, eos_id=3)
    with pytest.raises(EnvironmentFault, match=r"10000000000 beams and 2 tokens: lower --beam"):
        generate_batch(model, method, sources(method), settings)


@pytest.mark.parametrize("failing", range(1, 5))
def test_where_memory_runs_out_while_rows_leave_nothing_is_lost(
    tiny_checkpoint: Callable[[str], Path], failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_finetuned(str(tiny_checkpoint("bert")))
    method = PseudoMask(SPECIAL, 20, 8)
    rows = sources(method) * 3
    wanted = generate_batch(model, method, rows, SETTINGS)
    real, calls = session.ModelStepper.keep, []

    def keep(self: session.ModelStepper, rows: Sequence[int]) -> list[int]:
        if rows:
            calls.append(len(rows))
            if len(calls) == failing:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(self, rows)

    def one_by_one() -> Iterator[Request | None]:  # so that they also leave one by one
        for key, row in enumerate(rows):
            yield Request(key, row)
            if key < 3:
                yield None

    monkeypatch.setattr(session.ModelStepper, "keep", keep)
    budget = Budget(4, refill_share=0.0)
    found = generate(model, method, one_by_one(), SETTINGS, budget=budget)
    results = {request.key: result for request, result in found}
    same([results[key] for key in range(len(rows))], wanted)
    assert len(calls) >= failing


@pytest.mark.parametrize("row", range(5))
def test_scores_that_are_no_numbers_name_their_request(
    tiny_checkpoint: Callable[[str], Path], row: int
) -> None:
    """However long the row is; and nobody beside it is to blame."""
    model = load_finetuned(str(tiny_checkpoint("bert")))
    method = PseudoMask(SPECIAL, 20, 8)
    bad = len(VOCABULARY) - 1
    rows = [np.where(each == bad, bad - 1, each) for each in sources(method)]
    rows[row] = np.where(np.arange(len(rows[row])) == 1, bad, rows[row])

    def spoil(_module: object, arguments: tuple[torch.Tensor], output: torch.Tensor) -> object:
        return output.masked_fill((arguments[0] == bad).unsqueeze(-1), math.nan)

    model.encoder.get_input_embeddings().register_forward_hook(spoil)
    with pytest.raises(NonFiniteScores, match=f"row {row + 1}") as caught:
        decoded(model, method, rows, Budget(5))
    assert caught.value.request.key == row

    def searched(
        requests: Iterable[Request | None], is_wanted: Callable[[Request], bool]
    ) -> Iterator[tuple[Request, SearchResult]]:
        budget = Budget(5)
        return generate(model, method, requests, SETTINGS, budget=budget, is_wanted=is_wanted)

    requests = [Request(key, each) for key, each in enumerate(rows)]
    found = {each.key: result for each, result in isolated(searched, requests, lambda _: True)}
    faulty = [key for key, result in found.items() if isinstance(result, NonFiniteScores)]
    assert faulty == [row]
    assert len(found) == 5


def as_bf16(model: Seq2SeqModel) -> Seq2SeqModel:
    return model.to(torch.bfloat16)


def as_int8(model: Seq2SeqModel) -> Seq2SeqModel:
    assert quantize_linear_layers(model) > 10
    return model


@pytest.mark.parametrize("lower", [as_bf16, as_int8])
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "eurobert"])
def test_lower_precision_is_close(
    tiny_checkpoint: Callable[[str], Path],
    family: str,
    lower: Callable[[Seq2SeqModel], Seq2SeqModel],
) -> None:
    """Not the same beams on random weights; but what is found is worth what it is said to be."""
    exact = load_finetuned(str(tiny_checkpoint(family)))
    model = lower(load_finetuned(str(tiny_checkpoint(family))))
    method = PseudoMask(SPECIAL, 20, 8)
    rows = sources(method)
    best = [result.hypotheses[0] for result in generate_batch(exact, method, rows, SETTINGS)]
    found = [result.hypotheses[0] for result in generate_batch(model, method, rows, SETTINGS)]
    error = np.mean([abs(a.score - b.score) for a, b in zip(best, found, strict=True)])
    assert error < 0.1 * np.mean([abs(hypothesis.score) for hypothesis in best])


@pytest.mark.parametrize("method_name", ["causal", "pseudo_mask"])
def test_scores_equal_teacher_forcing(
    tiny_checkpoint: Callable[[str], Path], method_name: str
) -> None:
    """The log-probability of a hypothesis is that of the full pass over source and hypothesis."""
    model = load_finetuned(str(tiny_checkpoint("bert")))
    (method_class,) = (method for method in METHODS if method.name == method_name)
    method = method_class(
        SPECIAL, 20, 9, Corruption(random_prob=0.0, keep_prob=0.0, target_mask_prob=0.0)
    )
    rng = np.random.default_rng(6)
    source = rng.integers(5, len(VOCABULARY), 11)
    plain = SearchSettings(beam_size=4, max_length=8, eos_id=3, min_length=0, num_return=4)
    (result,) = generate_batch(model, method, [method.source(source)], plain)
    checked = 0
    for hypothesis in result.hypotheses:
        batch = method.lay_out(
            [method.corrupt(source, np.array(hypothesis.ids, dtype=np.int64), rng)]
        )
        labels = batch.labels if hypothesis.finished else batch.labels[:-1]
        with torch.no_grad():
            rows = model.logits(batch).log_softmax(-1)[torch.arange(len(labels)), labels]
        assert rows.sum().item() == pytest.approx(hypothesis.log_probability, abs=1e-4)
        assert hypothesis.token_log_probabilities == pytest.approx(rows.tolist(), abs=1e-4)
        checked += 1
    assert checked == 4
