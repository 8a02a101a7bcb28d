"""Dropout on a CPU: probability, mean, gradient, seeds, and its place in an encoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from s2s_ft.model.dropout import CpuDropout, keep_mask, use_cpu_dropout


@pytest.mark.parametrize("probability", [1e-9, 0.1, 0.5, 0.93])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mask_keeps_the_right_share(probability: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mask, factor = keep_mask((1000, 1001), probability, torch.empty(0, dtype=dtype))
    assert mask.dtype is dtype
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    # five standard deviations of a share of a million draws
    assert mask.float().mean().item() == pytest.approx(1.0 - probability, abs=0.0025)
    assert factor == pytest.approx(1.0 / (1.0 - probability), rel=3e-4)


def test_neighbours_are_independent() -> None:
    torch.manual_seed(1)
    mask, _ = keep_mask((4_000_000,), 0.5, torch.empty(0))
    for distance in (1, 2, 3, 4, 8):
        both = (mask[:-distance] * mask[distance:]).mean().item()
        assert both == pytest.approx(0.25, abs=0.0015)


def test_the_gradient_passes_through_the_same_mask() -> None:
    layer = CpuDropout(0.3)
    values = torch.ones(50, 7, requires_grad=True)
    result = layer(values)
    result.sum().backward()
    assert torch.equal(values.grad, result.detach())
    assert set(result.unique().tolist()) == {0.0, result.max().item()}


def test_the_seed_decides() -> None:
    layer, values = CpuDropout(0.5), torch.ones(64)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(layer(values))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_it_does_nothing_outside_training() -> None:
    layer, values = CpuDropout(0.5).eval(), torch.randn(9)
    assert layer(values) is values or torch.equal(layer(values), values)
    assert torch.equal(CpuDropout(0.0)(values), values)
    assert not CpuDropout(1.0)(values).any()


def test_every_dropout_of_an_encoder_is_replaced() -> None:
    encoder = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2), nn.Sequential(nn.Dropout(0.4)))
    use_cpu_dropout(encoder)
    found = [module for module in encoder.modules() if isinstance(module, nn.Dropout)]
    assert [type(module) for module in found] == [CpuDropout, CpuDropout]
    assert [module.p for module in found] == [0.2, 0.4]


@pytest.mark.parametrize("training", [True, False])
def test_a_replaced_layer_stays_in_training_or_out_of_it(*, training: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train(training)
    use_cpu_dropout(model)
    assert type(model[1]) is CpuDropout
    assert model[1].training is training
