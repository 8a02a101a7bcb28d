"""Decoding with a model: the batch, its order and its padding change no hypothesis; scores are
true probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from s2s_ft.decode.beam_search import SearchResult, SearchSettings
from s2s_ft.decode.session import generate
from s2s_ft.methods import METHODS, Corruption, Method
from s2s_ft.model.pretrained import load_finetuned
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


@pytest.mark.parametrize("method_class", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_batch_and_order_make_no_difference(
    tiny_checkpoint: Callable[[str], Path], family: str, method_class: type[Method]
) -> None:
    model = load_finetuned(str(tiny_checkpoint(family)))
    method = method_class(SPECIAL, 20, 8)
    rows = sources(method)
    together = generate(model, method, rows, SETTINGS)
    same([generate(model, method, [row], SETTINGS)[0] for row in rows], together)
    order = [4, 2, 0, 3, 1]
    same(
        generate(model, method, [rows[index] for index in order], SETTINGS),
        [together[index] for index in order],
    )


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
    (result,) = generate(model, method, [method.source(source)], plain)
    checked = 0
    for hypothesis in result.hypotheses:
        batch = method.lay_out(
            [method.corrupt(source, np.array(hypothesis.ids, dtype=np.int64), rng)]
        )
        labels = batch.labels if hypothesis.finished else batch.labels[:-1]
        with torch.no_grad():
            rows = model.logits(batch).log_softmax(-1)[torch.arange(len(labels)), labels]
        assert rows.sum().item() == pytest.approx(hypothesis.log_probability, abs=1e-4)
        checked += 1
    assert checked == 4
