"""Who decays and who does not, in every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForMaskedLM

from s2s_ft.train.optimizer import decays, make_optimizer, set_learning_rate, trained_parameters


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "modernbert", "eurobert"])
def test_only_matrices_decay(family: str, tiny_checkpoint: Callable[[str], Path]) -> None:
    model = AutoModelForMaskedLM.from_pretrained(tiny_checkpoint(family))
    kinds = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        module = kinds[name.rpartition(".")[0]]
        wanted = name.endswith("weight") and isinstance(module, nn.Linear | nn.Embedding)
        assert decays(name, parameter) == wanted, name


def test_relative_position_table_does_not_decay() -> None:
    table = nn.Parameter(torch.zeros(4, 32))
    assert not decays("bert.encoder.rel_pos_bias.weight", table)
    assert not decays("relative_position_bias.weight", table)


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 3))
    model[0].weight.requires_grad = False
    optimizer = make_optimizer(model.named_parameters(), weight_decay=0.1, epsilon=1e-8)
    assert [id(p) for p in trained_parameters(optimizer)] == [id(p) for p in model[1].parameters()]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


def test_tied_parameters_are_updated_once() -> None:
    model = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 3))
    model[1].weight = model[0].weight
    optimizer = make_optimizer(model.named_parameters(), weight_decay=0.1, epsilon=1e-8)
    assert len(trained_parameters(optimizer)) == 2


def test_learning_rate_reaches_every_group() -> None:
    model = nn.Linear(2, 3)
    optimizer = make_optimizer(model.named_parameters(), weight_decay=0.1, epsilon=1e-8)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
