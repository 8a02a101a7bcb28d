"""Who decays and who does not, in every family; rates of groups; apex's optimizer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForMaskedLM

from s2s_ft.cli import EnvironmentFault
from s2s_ft.train.optimizer import decays, make_optimizer, set_learning_rate, trained_parameters
from tests.unit.train.runs import Train


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


def test_factors_multiply_the_learning_rate_of_their_parameters() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    optimizer = make_optimizer(
        model.named_parameters(),
        weight_decay=0.1,
        epsilon=1e-8,
        rate_factors={"0.weight": 0.5, "0.bias": 0.5},
    )
    set_learning_rate(optimizer, 0.25)
    found = {
        name: (group["lr"], group["weight_decay"], group["rate_factor"])
        for name, parameter in model.named_parameters()
        for group in optimizer.param_groups
        if any(parameter is each for each in group["params"])
    }
    assert found == {
        "0.weight": (0.125, 0.1, 0.5),
        "0.bias": (0.125, 0.0, 0.5),
        "1.weight": (0.25, 0.1, 1.0),
    }


def test_the_fused_kernel_clips_and_leaves_out() -> None:
    """The training step sets both tensors instead of waiting for the device."""
    model = nn.Linear(2, 3)
    optimizer = make_optimizer(model.named_parameters(), weight_decay=0.1, epsilon=1e-8)
    set_learning_rate(optimizer, 0.25)
    before = model.weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.grad_scale = torch.tensor(4.0)  # type: ignore[attr-defined]
    optimizer.found_inf = torch.tensor(1.0)  # type: ignore[attr-defined]
    optimizer.step()
    assert torch.equal(model.weight, before)
    optimizer.found_inf = torch.tensor(0.0)  # type: ignore[attr-defined]
    optimizer.step()
    assert not torch.equal(model.weight, before)
    torch.testing.assert_close(
        optimizer.state[model.weight]["exp_avg"], torch.full((3, 2), 0.1 / 4.0)
    )


class FusedAdam(torch.optim.Optimizer):
    """Stands in for apex's: counts updates in its groups, keeps moments for each parameter."""

    def __init__(self, groups: Any, lr: float, betas: Any, eps: float, adam_w_mode: bool) -> None:
        assert adam_w_mode
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})

    def zero_grad(self) -> None:  # type: ignore[override]
        super().zero_grad()

    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if len(state) == 0:
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                state["exp_avg"].lerp_(parameter.grad, 1 - first)
                state["exp_avg_sq"].mul_(second).addcmul_(
                    parameter.grad, parameter.grad, value=1 - second
                )
                mean = state["exp_avg"] / (1 - first ** group["step"])
                root = (state["exp_avg_sq"] / (1 - second ** group["step"])).sqrt()
                with torch.no_grad():
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(group["lr"] * mean / (root + group["eps"]))


def install(monkeypatch: pytest.MonkeyPatch, fused_adam: Any) -> None:
    """Put an `apex` in the place of whatever is installed."""
    apex, optimizers = ModuleType("apex"), ModuleType("apex.optimizers")
    if fused_adam is not None:
        optimizers.FusedAdam = fused_adam  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "apex", apex)
    monkeypatch.setitem(sys.modules, "apex.optimizers", optimizers)


def small_model() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))


def optimizer_of(model: nn.Module, kind: Any) -> torch.optim.Optimizer:
    optimizer = make_optimizer(model.named_parameters(), weight_decay=0.1, epsilon=1e-8, kind=kind)
    set_learning_rate(optimizer, 0.01)
    return optimizer


def take_steps(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, count: int) -> None:
    for step in range(first, first + count):
        generator = torch.Generator().manual_seed(step)
        model(torch.randn(5, 3, generator=generator)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_state_of_apex_is_that_of_adamw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its count of updates is kept with each parameter, so checkpoints of both look alike."""
    install(monkeypatch, FusedAdam)
    states = []
    for kind in ("adamw", "apex"):
        model = small_model()
        optimizer = optimizer_of(model, kind)
        take_steps(model, optimizer, 0, 4)
        states.append((dict(model.named_parameters()), optimizer))
    (names, adamw), (apex_names, apex) = states
    for name, parameter in names.items():
        torch.testing.assert_close(apex_names[name], parameter, atol=1e-6, rtol=1e-5)
        own, other = adamw.state[parameter], apex.state[apex_names[name]]
        assert own.keys() == other.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert own["step"] == other["step"] == 4


def test_apex_goes_on_from_its_saved_state(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FusedAdam)
    whole, half = small_model(), small_model()
    take_steps(whole, optimizer_of(whole, "apex"), 0, 6)
    first = optimizer_of(half, "apex")
    take_steps(half, first, 0, 3)
    # As a checkpoint gives it back: the state by itself, the groups as they are made anew.
    second = optimizer_of(half, "apex")
    state = second.state_dict()
    second.load_state_dict({**state, "state": first.state_dict()["state"]})
    take_steps(half, second, 3, 3)
    for one, other in zip(whole.parameters(), half.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_run_with_apex(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FusedAdam)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(optimizer="apex", no_cuda=False) == 0


def test_absent_apex_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "apex", raising=False)
    monkeypatch.setattr(sys, "path", [])  # nobody's apex is found
    with pytest.raises(EnvironmentFault, match=r"--optimizer apex: NVIDIA's apex is not installed"):
        optimizer_of(small_model(), "apex")


def test_another_project_called_apex_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    with pytest.raises(EnvironmentFault, match=r"has no FusedAdam.*another project"):
        optimizer_of(small_model(), "apex")
    monkeypatch.delitem(sys.modules, "apex.optimizers")  # as on PyPI: no such submodule
    with pytest.raises(EnvironmentFault, match=r"has no FusedAdam.*another project"):
        optimizer_of(small_model(), "apex")


def test_apex_without_its_extensions_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_keywords: Any) -> None:
        raise RuntimeError("apex.optimizers.FusedAdam requires cuda extensions")

    install(monkeypatch, refuse)
    with pytest.raises(EnvironmentFault, match=r"requires cuda extensions.*CUDA device") as caught:
        optimizer_of(small_model(), "apex")
    assert "\n" not in str(caught.value)
