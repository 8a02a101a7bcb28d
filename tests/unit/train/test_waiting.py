"""An update is launched without asking the device for a single number, so that it never idles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from s2s_ft.model import loss, pretrained, seq2seq
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from s2s_ft.train import step
from s2s_ft.train.feed import TrainingData
from s2s_ft.train.optimizer import make_optimizer
from s2s_ft.train.precision import Precision
from s2s_ft.train.step import TrainState, train_step
from s2s_ft.transfer import Fetched, sent

MakeData = Callable[..., TrainingData]
MakeState = Callable[..., TrainState]

CPU = torch.device("cpu")
ROWS = np.array([3, 1, 12, 7])
ASKS = (
    "aten::_local_scalar_dense",  # item(), float(), int(), bool()
    "aten::equal",
    "aten::is_nonzero",
    "aten::masked_select",
    "aten::nonzero",  # also an index of bools
    "aten::repeat_interleave.Tensor",
    "aten::_unique2",
)
"""Operations whose result, or its shape, the host has to wait for."""


class _Watch(TorchDispatchMode):
    """Notes every operation that asks."""

    def __init__(self, asked: list[str]) -> None:
        super().__init__()
        self._asked = asked

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name()
        if name in ASKS:
            self._asked.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked for inside; reading a whole tensor goes past torch's operations."""
    asked: list[str] = []
    with monkeypatch.context() as patch, _Watch(asked):
        for name in ("tolist", "numpy", "cpu"):
            real = getattr(torch.Tensor, name)

            def noted(tensor: Any, *arguments: Any, _name: str = name, _real: Any = real) -> Any:
                asked.append(_name)
                return _real(tensor, *arguments)

            patch.setattr(torch.Tensor, name, noted)
        yield asked


class _OfAGpu(seq2seq.FullPass):
    """Attention as it is on a GPU."""

    _attend_written_out = seq2seq.FullPass._attend_by_autograd


@pytest.fixture
def with_encoder(
    make_state: MakeState,
    codec: TextCodec,
    tiny_checkpoint: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> MakeState:
    """A function that gives a state whose model is a tiny encoder of a family, as on a GPU."""
    monkeypatch.setattr(seq2seq, "FullPass", _OfAGpu)
    monkeypatch.setattr(loss, "_is_one", lambda _factor: False)

    def make(family: str) -> TrainState:
        options = ModelOptions(model_name_or_path=str(tiny_checkpoint(family)), dropout=0.1)
        model = pretrained.load_for_training(
            options, codec, max_source_length=12, max_target_length=6
        )
        optimizer = make_optimizer(model.named_parameters(), weight_decay=0.01, epsilon=1e-8)
        return replace(make_state(), model=model, network=model, optimizer=optimizer)

    return make


@pytest.mark.parametrize(
    "family", ["bert", "roberta", "electra", "ernie", "eurobert", "modernbert", "unilm"]
)
def test_launching_asks_for_nothing(
    family: str, with_encoder: MakeState, make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, parts = with_encoder(family), make_data(2).micro_batches(ROWS, 0)
    train_step(state, parts)
    with watched(monkeypatch) as asked:
        launched = step._launch(state, parts, None)
        step._launch(state, parts, None)
        assert asked == []
        assert step._settle(state, launched).step == 2
        assert asked == ["tolist"]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_nor_does_the_scaling_of_float16(
    smoothing: float, make_state: MakeState, make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    precision = Precision(CPU, torch.float32, scaler)
    state = make_state(precision=precision, label_smoothing=smoothing)
    parts = make_data().micro_batches(ROWS, 0)
    with watched(monkeypatch) as asked:
        step._launch(state, parts, None)
    assert asked == []


def test_an_optimizer_that_takes_no_tensors_is_waited_for(
    make_state: MakeState, make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = make_state()
    state.optimizer = torch.optim.AdamW(
        [{"params": list(state.model.parameters()), "rate_factor": 1.0}]
    )
    fused = make_state(max_grad_norm=1e-3)
    state.max_grad_norm = 1e-3
    fused.optimizer.param_groups[0]["weight_decay"] = 0.01
    parts = make_data().micro_batches(ROWS, 0)
    train_step(fused, parts)
    with watched(monkeypatch) as asked:
        step._launch(state, parts, None)
    assert "aten::_local_scalar_dense" in asked
    for one, other in zip(state.model.parameters(), fused.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_a_failure_is_found_without_asking(
    make_state: MakeState, make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, parts = make_state(), make_data().micro_batches(ROWS, 0)
    state.model.output.bias.register_hook(lambda gradient: gradient * torch.nan)
    before = [weight.detach().clone() for weight in state.model.parameters()]
    with watched(monkeypatch) as asked:
        step._launch(state, parts, None)
        step._launch(state, parts, None)
    assert asked == []
    for one, other in zip(before, state.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_numbers_of_a_cpu_stay_where_they_are() -> None:
    numbers = torch.tensor([1.5, 2.0])
    assert sent(numbers, CPU) is numbers
    assert Fetched(numbers).values() == [1.5, 2.0]
