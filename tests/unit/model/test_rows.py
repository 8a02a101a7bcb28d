"""Rows that nobody reads are left out of the last layer: nothing that is read changes, forward or
backward.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from s2s_ft.corruption import USUAL
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.decode.session import generate_batch
from s2s_ft.layout import Batch
from s2s_ft.methods import METHODS, Method
from s2s_ft.model import rows
from s2s_ft.model.packed import pack_linear_layers
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import SpecialIds
from tests.conftest import VOCABULARY

SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=len(VOCABULARY))
BUILT_LIKE_BERT = ("bert", "roberta", "electra", "unilm")


def batch_of(method: Method) -> Batch:
    random = np.random.default_rng(2)
    sizes = ((4, 3), (9, 2), (1, 5))
    pairs = [
        (random.integers(5, 40, source), random.integers(5, 40, target)) for source, target in sizes
    ]
    return method.lay_out([method.corrupt(*pair, random) for pair in pairs])


def queries_of_last_layer(model: Seq2SeqModel) -> nn.Module:
    attention = rows._last_attention(model.encoder)
    assert attention is not None
    query = attention.self.query
    assert isinstance(query, nn.Module)
    return query


def outcome(model: Seq2SeqModel, batch: Batch, smoothing: float = 0.1) -> list[Tensor]:
    """Loss and gradients."""
    model.zero_grad()
    loss = model.loss(batch, smoothing)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("method_class", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("family", BUILT_LIKE_BERT)
def test_queries_of_unread_rows_change_nothing(
    tiny_checkpoint: Callable[[str], Path],
    family: str,
    method_class: type[Method],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = load_finetuned(str(tiny_checkpoint(family)))
    method = method_class(SPECIAL, 20, 8, corruption=USUAL)
    batch, seen = batch_of(method), list[int]()
    queries_of_last_layer(model).register_forward_pre_hook(
        lambda _module, arguments: seen.append(arguments[0].shape[1])
    )
    everything = outcome(model, batch)
    monkeypatch.setattr(rows, "FEWEST_UNREAD", 1)
    left_out = outcome(model, batch)
    assert seen == [batch.num_tokens, batch.read_rows.shape[0]]
    assert len(left_out) == len(everything) > 10
    for one, other in zip(left_out, everything, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("method_class", METHODS, ids=lambda method: method.name)
def test_decoding_finds_the_same(
    tiny_checkpoint: Callable[[str], Path],
    method_class: type[Method],
    packed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = SearchSettings(beam_size=3, max_length=6, eos_id=3, num_return=3)
    method = method_class(SPECIAL, 20, 8)
    random = np.random.default_rng(3)
    sources = [method.source(random.integers(5, 40, size)) for size in (3, 11, 7)]
    wanted = generate_batch(load_finetuned(str(tiny_checkpoint("bert"))), method, sources, settings)
    monkeypatch.setattr(rows, "FEWEST_UNREAD", 1)
    model = load_finetuned(str(tiny_checkpoint("bert")))
    if packed:  # hooks go over to the layers that come in the place of others
        assert pack_linear_layers(model) > 10
    seen: list[int] = []
    queries_of_last_layer(model).register_forward_pre_hook(
        lambda _module, arguments: seen.append(arguments[0].shape[1])
    )
    for one, other in zip(generate_batch(model, method, sources, settings), wanted, strict=True):
        assert [each.ids for each in one.hypotheses] == [each.ids for each in other.hypotheses]
        for found, known in zip(one.hypotheses, other.hypotheses, strict=True):
            assert found.score == pytest.approx(known.score, abs=1e-5)
    assert seen[0] == 3  # of all source tokens and questions, the questions
