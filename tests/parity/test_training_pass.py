"""Golden A1: loss, gradients, masks, positions and logits of a training step, every family and
method.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from s2s_ft.layout import Batch
from s2s_ft.model.pattern import visible
from s2s_ft.model.seq2seq import Seq2SeqModel
from tests.parity.conftest import (
    METHOD_OF_WAY,
    cases,
    golden_batch,
    golden_method,
    read_json,
)

FORWARD_CASES = [case for case in cases("a1_") if case.name != "a1_packing"]

BERT_NAMES = {
    "roberta.": "bert.",
    "electra.": "bert.",
    "lm_head.dense.": "cls.predictions.transform.dense.",
    "lm_head.layer_norm.": "cls.predictions.transform.LayerNorm.",
    "lm_head.bias": "cls.predictions.bias",
    "lm_head.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "generator_predictions.dense.": "cls.predictions.transform.dense.",
    "generator_predictions.LayerNorm.": "cls.predictions.transform.LayerNorm.",
    "generator_lm_head.bias": "cls.predictions.bias",
}
"""Our parameter names -> the original's, which are BERT's for every family."""


def original_name(name: str) -> str:
    if name == "relative_position_bias.weight":
        return "bert.rel_pos_bias.weight"
    name = name.removeprefix("encoder.")
    for ours, theirs in BERT_NAMES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def intended_variant(inputs: dict[str, Any]) -> str:
    """The original supervises padding of RoBERTa-like families by mistake; the second reading is
    the intended one.
    """
    second = "weights_zero_on_padding"
    return second if second in inputs["variants"] else "as_reference_pads"


def batch_of(case: Path) -> tuple[dict[str, Any], str, Batch]:
    inputs = read_json(case, "inputs")
    name = intended_variant(inputs)
    return (
        inputs,
        name,
        golden_batch(golden_method(inputs["dataset_options"]), inputs["variants"][name]),
    )


@pytest.mark.parametrize("smoothing", ["ls_0.0", "ls_0.1"])
@pytest.mark.parametrize("case", FORWARD_CASES, ids=lambda case: case.name)
def test_loss_and_gradients(
    case: Path, smoothing: str, load_golden_model: Callable[..., Seq2SeqModel]
) -> None:
    _, variant, batch = batch_of(case)
    expected = read_json(case, "expected")[variant][smoothing]
    model = load_golden_model(case)
    loss = model.loss(batch, expected["label_smoothing"]) / (batch.num_supervised + 1e-5)
    assert loss.item() == pytest.approx(expected["loss"], rel=2e-5)
    loss.backward()
    norms = {
        original_name(name): float(parameter.grad.double().norm())
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    wanted = dict(expected["grad_norms"])
    words = "bert.embeddings.word_embeddings.weight"
    wanted[words] = expected["word_embedding_grad_norm_if_no_padding_idx"]
    assert set(wanted) <= set(norms)
    assert {name for name in norms if name not in wanted} <= {
        "bert.embeddings.token_type_embeddings.weight"
    }
    for name, norm in wanted.items():
        assert norms[name] == pytest.approx(norm, rel=1e-3, abs=1e-4), name


@pytest.mark.parametrize("case", FORWARD_CASES, ids=lambda case: case.name)
def test_logits_of_supervised_rows(
    case: Path, load_golden_model: Callable[..., Seq2SeqModel]
) -> None:
    inputs = read_json(case, "inputs")
    variant = inputs["variants"]["as_reference_pads"]
    batch = golden_batch(golden_method(inputs["dataset_options"]), variant)
    supervised = read_json(case, "expected")["as_reference_pads"]["supervised"]
    logits = load_golden_model(case).logits(batch)
    ours = {}
    width = batch.ids.shape[1]
    start = batch.source_size + (batch.target_size if batch.has_pseudo else 0)
    log_probabilities = logits.log_softmax(-1)
    for row, (index, label) in enumerate(
        zip(batch.supervised.tolist(), batch.labels.tolist(), strict=True)
    ):
        ours[index // width, index % width - start, label] = row
    compared = 0
    for entry, (example, slot) in enumerate(supervised["index"]):
        label = supervised["label"][entry]
        # `slot` counts supervised entries of the example, which for the masked method are not
        # target positions.
        position = variant["masked_pos"][example][slot] if "masked_pos" in variant else slot
        if (example, position, label) not in ours:
            continue
        row = ours[example, position, label]
        assert log_probabilities[row, label].item() == pytest.approx(
            supervised["label_logprob"][entry], abs=1e-3
        )
        if "logits" in supervised:
            np.testing.assert_allclose(logits[row].detach(), supervised["logits"][entry], atol=1e-3)
        compared += 1
    assert compared == len(supervised["index"])


@pytest.mark.parametrize("case", FORWARD_CASES, ids=lambda case: case.name)
def test_positions_types_and_masks(
    case: Path, load_golden_model: Callable[..., Seq2SeqModel]
) -> None:
    inputs = read_json(case, "inputs")
    options, variant = inputs["dataset_options"], inputs["variants"]["as_reference_pads"]
    expected = read_json(case, "expected")["as_reference_pads"]
    batch = golden_batch(golden_method(options), variant)
    columns = full_width_columns(batch, options["max_source_len"], options["max_target_len"])
    assert batch.positions.tolist() == np.array(expected["position_ids"])[:, columns].tolist()
    model = load_golden_model(case)
    types = model._types((torch.arange(len(columns)) >= batch.source_size).expand_as(batch.ids))
    assert types is not None
    if options["mask_way"] in METHOD_OF_WAY and model._num_token_types > 1:
        assert types.tolist() == np.array(expected["token_type_ids"])[:, columns].tolist()
    if "attention_mask_3d" in expected:
        wanted = torch.tensor(expected["attention_mask_3d"])[:, columns][:, :, columns].bool()
        real = (torch.tensor(expected["attention_mask_3d"]).sum(1) > 0)[:, columns]
        seen = visible(batch)
        assert torch.equal(seen[real], wanted[real])


def full_width_columns(batch: Batch, max_source: int, max_target: int) -> list[int]:
    """Where our columns, as wide as the longest example, stand in the original's fixed-width
    rows.
    """
    columns = list(range(batch.source_size))
    for block in range(2 if batch.has_pseudo else 1):
        start = max_source + block * max_target
        columns += range(start, start + batch.target_size)
    return columns


@pytest.mark.parametrize("case", cases("a1_packing"), ids=lambda case: case.name)
def test_framing_and_truncation(case: Path) -> None:
    expected = read_json(case, "expected")["cases"]
    for group, results in zip(read_json(case, "inputs")["cases"], expected, strict=True):
        method = golden_method(group["options"])
        for feature, result in zip(group["features"], results, strict=True):
            source, target = (
                np.array(feature[key], dtype=np.int64) for key in ("source_ids", "target_ids")
            )
            made = method.corrupt(source, target, np.random.default_rng(0))
            num_source, num_target = result["num_source_tokens"], result["num_target_tokens"]
            assert made.source.tolist() == result["source_ids"][:num_source]
            assert len(made.target) == num_target
            if "pseudo_ids" in result:
                assert made.target.tolist() == result["target_ids"][:num_target]
                assert made.pseudo.tolist() == result["pseudo_ids"][:num_target]
                assert made.labels.tolist() == result["label_ids"][:num_target]
                continue
            if "num_masked" not in result:  # causal: every position is read
                assert made.target.tolist() == result["target_ids"][:num_target]
                assert made.labels.tolist() == result["masked_ids"][:num_target]
                assert made.read.tolist() == result["masked_pos"][:num_target]
                continue
            assert len(made.read) == result["num_masked"]
            clean = made.target.copy()
            clean[made.read] = made.labels
            recorded = np.array(result["target_ids"][:num_target])
            recorded[result["masked_pos"][: result["num_masked"]]] = result["masked_ids"][
                : result["num_masked"]
            ]
            assert clean.tolist() == recorded.tolist()
            assert (made.target[made.read] == method.special.mask).all()
