"""Rates that fall towards the embeddings, and layers that are unfrozen one after another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from s2s_ft.model.parts import encoder_layers, weight_depths
from s2s_ft.model.pretrained import load_for_training
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from s2s_ft.train.layers import freeze_for, rate_factors
from s2s_ft.train.optimizer import make_optimizer, set_learning_rate
from tests.conftest import FAMILIES
from tests.unit.model.test_attention import batch_of


@pytest.fixture
def load(tiny_checkpoint: Callable[[str], Path]) -> Callable[..., Seq2SeqModel]:
    def loaded(family: str, *, fixed: bool = False) -> Seq2SeqModel:
        folder = str(tiny_checkpoint(family))
        options = ModelOptions(model_name_or_path=folder, fix_word_embedding=fixed, dropout=0.0)
        codec = TextCodec.load(folder)
        return load_for_training(options, codec, max_source_length=24, max_target_length=10)

    return loaded


def trained(model: Seq2SeqModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_has_its_depth(load: Callable[..., Seq2SeqModel], family: str) -> None:
    encoder = load(family).encoder
    depths = weight_depths(encoder)
    layers = encoder_layers(encoder)
    assert len(layers) == encoder.config.num_hidden_layers
    for name, depth in depths.items():
        in_layer = [number for number, (layer, _) in enumerate(layers) if f"{layer}." in name]
        if in_layer:
            assert depth == in_layer[0] + 1
        elif "embed" in name or name.endswith("decoder.weight"):
            assert depth == 0, name
        else:
            assert depth == len(layers) + 1, name
    words = encoder.get_input_embeddings().get_parameter("weight")
    assert [depths[name] for name, each in encoder.named_parameters() if each is words] == [0]


@pytest.mark.parametrize("family", FAMILIES)
def test_rates_fall_by_one_factor_a_layer(load: Callable[..., Seq2SeqModel], family: str) -> None:
    model = load(family)
    count = model.num_layers
    factors = rate_factors(model, 0.5)
    assert factors.keys() == {name for name, _ in model.named_parameters()}
    for name, depth in weight_depths(model.encoder).items():
        assert factors[f"encoder.{name}"] == 0.5 ** (count - min(depth, count))
    assert max(factors.values()) == 1.0
    assert min(factors.values()) == 0.5**count
    if family == "unilm":
        assert factors["relative_position_bias.weight"] == 0.5**count


def test_decay_of_one_needs_no_groups(load: Callable[..., Seq2SeqModel]) -> None:
    assert rate_factors(load("bert"), 1.0) == {}


def test_an_update_moves_lower_layers_less(load: Callable[..., Seq2SeqModel]) -> None:
    """AdamW's first update is as large as its rate, whatever the gradient."""
    model = load("bert")
    optimizer = make_optimizer(
        model.named_parameters(),
        weight_decay=0.0,
        epsilon=1e-12,
        rate_factors=rate_factors(model, 0.5),
    )
    set_learning_rate(optimizer, 0.01)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.loss(batch_of(6, 4, pseudo=True), 0.1).backward()
    optimizer.step()
    for name, rate in (
        ("cls.predictions.transform.dense.weight", 0.01),
        ("bert.encoder.layer.1.output.dense.weight", 0.01),
        ("bert.encoder.layer.0.output.dense.weight", 0.005),
        ("bert.embeddings.LayerNorm.weight", 0.0025),
    ):
        moved = (
            (model.encoder.get_parameter(name).detach() - before[f"encoder.{name}"]).abs().median()
        )
        assert float(moved) == pytest.approx(rate, rel=1e-2), name


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_unfrozen_from_the_top(load: Callable[..., Seq2SeqModel], family: str) -> None:
    model = load(family)
    count = model.num_layers
    depths = {f"encoder.{name}": d for name, d in weight_depths(model.encoder).items()}
    everything = trained(model)
    for step in range(3 * (count + 2) + 1):
        freeze_for(model, step, unfreeze_steps=3)
        lowest = count + 1 - step // 3
        expected = {name for name in everything if depths.get(name, 0) >= lowest}
        assert trained(model) == expected
    assert trained(model) == everything
    freeze_for(model, 4, unfreeze_steps=3)  # not a matter of what was before
    assert trained(model) == {name for name in everything if depths.get(name, 0) >= count}


def test_fixed_word_embeddings_stay_fixed(load: Callable[..., Seq2SeqModel]) -> None:
    for family in ("bert", "xlm-roberta", "modernbert"):
        model = load(family, fixed=True)
        words = model.encoder.get_input_embeddings().get_parameter("weight")
        before = trained(model)
        freeze_for(model, 100, unfreeze_steps=1)
        assert not words.requires_grad
        assert trained(model) == before


def test_frozen_weights_do_not_move(load: Callable[..., Seq2SeqModel]) -> None:
    """Neither by momentum nor by weight decay, and what was frozen starts when it is let go."""
    model = load("bert")
    optimizer = make_optimizer(model.named_parameters(), weight_decay=0.5, epsilon=1e-8)
    set_learning_rate(optimizer, 0.01)
    for step in range(8):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        freeze_for(model, step, unfreeze_steps=2)
        optimizer.zero_grad(set_to_none=True)
        model.loss(batch_of(6, 4, pseudo=True), 0.1).backward()
        optimizer.step()
        moved = {n for n, p in model.named_parameters() if not torch.equal(p.detach(), before[n])}
        assert moved == trained(model), step
    head = model.encoder.get_parameter("cls.predictions.transform.dense.weight")
    words = model.encoder.get_input_embeddings().get_parameter("weight")
    assert optimizer.state[head]["step"] == 8
    assert optimizer.state[words]["step"] == 2
