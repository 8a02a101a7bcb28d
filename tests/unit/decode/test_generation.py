"""What users ask of generation, with a model: prefixes, phrases, samples and groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2s_ft.decode.rules.phrases import num_missing
from s2s_ft.decode.search.requests import Budget, Request
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.decode.session import generate
from s2s_ft.methods import Method, PseudoMask
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import SpecialIds
from tests.conftest import VOCABULARY
from tests.unit.decode.chain import is_same

EOS = 3
SPECIAL = SpecialIds(cls=2, sep=EOS, pad=0, mask=4, vocab_size=len(VOCABULARY))
METHOD = PseudoMask(SPECIAL, 20, 10)
BASIC = SearchSettings(beam_size=4, max_length=10, eos_id=EOS, num_return=4)

Decode = Callable[..., dict[int, Any]]


@pytest.fixture
def decode(tiny_checkpoint: Callable[[str], Path]) -> Decode:
    model: Seq2SeqModel = load_finetuned(str(tiny_checkpoint("bert")))

    def decoded(
        requests: Sequence[Request], settings: SearchSettings, batch: int = 9
    ) -> dict[int, Any]:
        found = generate(model, METHOD, requests, settings, budget=Budget(batch))
        return {request.key: result for request, result in found}

    return decoded


def make_requests(count: int, method: Method = METHOD) -> list[Request]:
    rng = np.random.default_rng(1)
    return [
        Request(key, method.source(rng.integers(5, len(VOCABULARY), 1 + rng.integers(12))))
        for key in range(count)
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ngram_size": 2, "bad_words": ((7,), (8, 9)), "repetition_penalty": 1.3},
        {"length_reward": 0.4, "min_length": 4},
        {"sample": True, "temperature": 1.4, "top_p": 0.9, "seed": 3},
        {"num_groups": 2, "diversity_penalty": 0.6},
    ],
    ids=str,
)
def test_batch_and_order_make_no_difference(decode: Decode, options: dict[str, Any]) -> None:
    settings = replace(BASIC, **options)
    allows_phrases = not (settings.sample or settings.num_groups > 1)
    requests = [
        replace(
            each,
            prefix=(11, 12, 13)[: each.key % 3],
            phrases=((14, 15), (16,)) if allows_phrases and each.key % 2 else (),
        )
        for each in make_requests(9)
    ]
    together = decode(requests, settings)
    assert is_same(decode(requests, settings, batch=2), together)
    assert is_same(decode(requests[::-1], settings, batch=4), together)
    for each in requests:
        best = together[each.key].hypotheses[0].ids
        assert best[: len(each.prefix)] == each.prefix
        assert num_missing(best, each.phrases) == 0


def test_the_beginning_of_what_is_found_as_a_prefix_changes_nothing(decode: Decode) -> None:
    settings = replace(BASIC, beam_size=1, num_return=1, min_length=5)
    requests = make_requests(6)
    free = decode(requests, settings)
    prefixed = [
        replace(each, prefix=free[each.key].hypotheses[0].ids[: 1 + each.key % 4])
        for each in requests
    ]
    assert is_same(decode(prefixed, settings), free)
