"""Golden A3: hypotheses, scores and traces of greedy and beam search, with every rule of the
original's decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2s_ft.decode.search.beam_search import SearchSettings
from s2s_ft.decode.session import generate_batch as generate
from s2s_ft.methods import Method, method_named
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import SpecialIds
from tests.parity.conftest import cases, read_json


def method_of(inputs: dict[str, Any], run: dict[str, Any]) -> Method:
    ids = inputs["special_ids"]
    special = SpecialIds(ids["cls"], ids["sep"], ids["pad"], ids["mask"], len(inputs["vocab"]))
    name = "causal" if run["pos_shift"] else "pseudo_mask"
    framing = 1 if run["pos_shift"] else 2
    # The original cuts the source to what the maximum sequence length leaves beside the target.
    budget = run["max_seq_length"] - 2 - run["max_tgt_length"] + framing
    longest = max(map(len, inputs["sources"])) + framing
    return method_named(
        name,
        special=special,
        max_source_length=max(budget, longest),
        max_target_length=run["max_tgt_length"],
    )


def settings_of(inputs: dict[str, Any], run: dict[str, Any]) -> SearchSettings:
    framing = 1 if run["pos_shift"] else 2
    room = run["max_seq_length"] - max(map(len, inputs["sources"])) - framing
    return SearchSettings(
        beam_size=run["beam_size"],
        max_length=min(run["max_tgt_length"], room),
        min_length=run["min_len"],
        length_penalty=run["length_penalty"],
        ngram_size=run["ngram_size"] if run["forbid_duplicate_ngrams"] else 0,
        ignore_ids=tuple(run["forbid_ignore_ids"] or ()),
        eos_id=inputs["special_ids"]["sep"],
        keep_trace=True,
    )


def sources_of(inputs: dict[str, Any], method: Method) -> list[np.ndarray]:
    index = {word: number for number, word in enumerate(inputs["vocab"])}
    return [
        method.source(np.array([index[word] for word in source])) for source in inputs["sources"]
    ]


@pytest.mark.parametrize("case", cases("a3_"), ids=lambda case: case.name)
def test_every_run(case: Path, load_golden_model: Callable[..., Seq2SeqModel]) -> None:
    inputs, expected = read_json(case, "inputs"), read_json(case, "expected")
    model = load_golden_model(case)
    for run, wanted in zip(inputs["runs"], expected["runs"], strict=True):
        method, settings = method_of(inputs, run), settings_of(inputs, run)
        if run["beam_size"] == 1:
            settings = replace(
                settings, min_length=0
            )  # the original's greedy search has no minimum
        left_to_right = run["mode"] == "l2r"
        sources = sources_of(inputs, method)
        results = generate(model, method, sources, settings, left_to_right_source=left_to_right)
        for number, result in enumerate(results):
            words = [inputs["vocab"][token] for token in result.hypotheses[0].ids]
            assert words == wanted["pred_tokens_until_eos"][number], (run, number)
            if run["beam_size"] == 1:
                continue
            frames = wanted["valid_frames"][number]
            assert result.trace is not None
            assert len(result.trace.ids) == frames
            assert result.trace.ids == wanted["wids"][number][:frames]
            assert result.trace.parents == wanted["ptrs"][number][:frames]
            np.testing.assert_allclose(
                result.trace.scores, wanted["scores"][number][:frames], atol=2e-3
            )
        stopped = generate(
            model,
            method,
            sources,
            replace(settings, keep_trace=False),
            left_to_right_source=left_to_right,
        )
        assert [r.hypotheses[0].ids for r in stopped] == [r.hypotheses[0].ids for r in results]
