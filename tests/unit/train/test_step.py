"""One update, what a failing one leaves behind, and the loop that takes one after another."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from s2s_ft.cli import TrainingFault
from s2s_ft.layout import Batch
from s2s_ft.train.feed import TrainingData
from s2s_ft.train.precision import Precision
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.step import StepReport, TrainState, take_updates, train_step

MakeData = Callable[..., TrainingData]
MakeState = Callable[..., TrainState]

CPU = torch.device("cpu")
ROWS = np.array([3, 1, 12, 7])


def schedule(total: int = 10, batch: int = 4) -> Schedule:
    return Schedule(
        total_steps=total, steps_per_epoch=-(-16 // batch), global_batch_size=batch, warmup_steps=0
    )


def weights(state: TrainState) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.model.state_dict().items()}


@pytest.mark.parametrize("name", ["causal", "masked", "pseudo_mask"])
def test_accumulation_does_not_change_the_update(
    name: str, make_data: MakeData, make_state: MakeState
) -> None:
    once, often = make_state(), make_state()
    for _ in range(3):
        first = train_step(once, make_data(4, name).micro_batches(ROWS, 0))
        second = train_step(often, make_data(1, name).micro_batches(ROWS, 0))
        assert first.loss == pytest.approx(second.loss, rel=1e-6)
        assert first.grad_norm == pytest.approx(second.grad_norm, rel=1e-5)
        assert (first.tokens, first.examples) == (second.tokens, second.examples)
    for name_, value in weights(once).items():
        torch.testing.assert_close(value, weights(often)[name_], atol=1e-6, rtol=1e-5)


def test_loss_is_the_mean_over_supervised_tokens(
    make_data: MakeData, make_state: MakeState
) -> None:
    state, parts = make_state(), make_data(2).micro_batches(ROWS, 0)
    with torch.no_grad():
        total = sum(float(state.model.loss(part.batch, 0.1)) for part in parts)
    report = train_step(state, parts)
    assert report.tokens == sum(part.batch.num_supervised for part in parts)
    assert report.loss == pytest.approx(total / report.tokens, rel=1e-6)
    assert report.examples == 4
    assert state.step == 1


def test_gradients_are_clipped_to_the_norm(make_data: MakeData, make_state: MakeState) -> None:
    parts = make_data().micro_batches(ROWS, 0)
    norms: list[float] = []
    for bound in (1e-3, 0.0, math.inf):
        state = make_state(max_grad_norm=bound)
        seen: list[float] = []
        state.optimizer.register_step_post_hook(
            lambda *_, s=state, n=seen: n.append(gradient_norm(s))
        )
        report = train_step(state, parts)
        norms.append(report.grad_norm)
        assert seen == pytest.approx([1e-3 if bound == 1e-3 else report.grad_norm], rel=1e-3)
    assert norms[0] == norms[1] == norms[2]


def gradient_norm(state: TrainState) -> float:
    gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


def test_rate_zero_moves_nothing(make_data: MakeData, make_state: MakeState) -> None:
    state = make_state(schedule=replace(schedule(), warmup_steps=2))
    before = weights(state)
    assert train_step(state, make_data().micro_batches(ROWS, 0)).learning_rate == 0.0
    assert all(torch.equal(before[name], value) for name, value in weights(state).items())
    assert train_step(state, make_data().micro_batches(ROWS, 0)).learning_rate == 0.005
    assert not torch.equal(before["words.weight"], state.model.state_dict()["words.weight"])


def with_faulty_loss(state: TrainState, rows: int, value: float) -> None:
    """Let micro-batches of a size have a loss that is not finite."""
    true_loss: Any = state.model.loss

    def loss(batch: Batch, label_smoothing: float) -> Tensor:
        total = true_loss(batch, label_smoothing)
        return total * value if batch.num_examples == rows else total

    state.model.loss = loss  # type: ignore[method-assign]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_steps_nothing(
    value: float, make_data: MakeData, make_state: MakeState
) -> None:
    state = make_state()
    train_step(state, make_data().micro_batches(ROWS, 0))
    before, moments = weights(state), str(state.optimizer.state_dict()["state"])
    with_faulty_loss(state, 1, value)
    with pytest.raises(
        TrainingFault, match=r"update 2 of 10: the loss is (nan|inf), on examples 7 "
    ):
        train_step(state, make_data(3).micro_batches(ROWS, 0))
    assert all(torch.equal(before[name], now) for name, now in weights(state).items())
    assert str(state.optimizer.state_dict()["state"]) == moments
    assert state.step == 1


def test_a_gradient_that_is_not_finite_steps_nothing(
    make_data: MakeData, make_state: MakeState
) -> None:
    state = make_state()
    state.model.output.bias.register_hook(lambda gradient: gradient * math.nan)
    before = weights(state)
    message = r"gradient norm is nan \(first in output.bias\), on examples 3, 1, 12, 7 "
    with pytest.raises(TrainingFault, match=message):
        train_step(state, make_data().micro_batches(ROWS, 0))
    assert all(torch.equal(before[name], now) for name, now in weights(state).items())


def test_a_message_names_only_the_first_of_many_examples(
    make_data: MakeData, make_state: MakeState
) -> None:
    state = make_state()
    with_faulty_loss(state, 30, math.nan)
    with pytest.raises(TrainingFault, match="and 10 more"):
        train_step(state, make_data(30).micro_batches(np.arange(30) % 16, 0))


def test_a_scaler_may_lower_its_scale_before_it_is_a_failure(
    make_data: MakeData, make_state: MakeState
) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1000)
    state = make_state(precision=Precision(CPU, torch.float32, scaler))
    parts = make_data().micro_batches(ROWS, 0)
    train_step(state, parts)
    state.model.output.bias.register_hook(lambda gradient: gradient * math.inf)
    before = weights(state)
    for scale in (2.0, 1.0):
        assert not math.isfinite(train_step(state, parts).grad_norm)
        assert scaler.get_scale() == scale
        assert all(torch.equal(before[name], now) for name, now in weights(state).items())
    with pytest.raises(TrainingFault, match=r"first in output.bias"):
        train_step(state, parts)


def test_scaling_does_not_change_the_update(make_data: MakeData, make_state: MakeState) -> None:
    plain = make_state()
    scaled = make_state(
        precision=Precision(CPU, torch.float32, torch.amp.GradScaler("cpu", init_scale=1024.0))
    )
    parts = make_data(2).micro_batches(ROWS, 0)
    reports = [train_step(state, parts) for state in (plain, scaled)]
    assert reports[0].grad_norm == pytest.approx(reports[1].grad_norm, rel=1e-6)
    for one, two in zip(plain.model.parameters(), scaled.model.parameters(), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("sizes", [(8, 4), (4, 2), (8, 2)])
def test_cutting_an_update_otherwise_changes_nothing(
    sizes: tuple[int, int], make_data: MakeData, make_state: MakeState
) -> None:
    gradients = []
    for size in sizes:
        state = make_state(max_grad_norm=0.0)
        train_step(state, make_data(size).micro_batches(np.arange(8), 0))
        gradients.append([value["exp_avg"] for value in state.optimizer.state.values()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_dropout_depends_on_update_and_micro_batch_only(
    make_data: MakeData, make_state: MakeState
) -> None:
    parts = make_data(2).micro_batches(ROWS, 0)
    losses = []
    for disturbance in (0, 1):
        state = make_state(dropout=0.5)
        torch.rand(disturbance)
        losses.append([train_step(state, parts).loss for _ in range(2)])
    assert losses[0] == losses[1]
    other = make_state(dropout=0.5, seed=8)
    assert train_step(other, parts).loss != losses[0][0]


def test_a_pass_of_weight_zero_counts_for_nothing(
    make_data: MakeData, make_state: MakeState
) -> None:
    parts = make_data().micro_batches(ROWS, 0)
    one, other = make_state(), make_state()
    first = train_step(one, parts)
    second = train_step(other, [*parts, replace(parts[0], weight=0.0)])
    assert first == second
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name])


def take(
    state: TrainState,
    data: TrainingData,
    wait_at: Callable[[int], bool] = lambda _: False,
    came: Callable[[], int | None] = lambda: None,
) -> list[tuple[StepReport, int]]:
    """Every report, with the updates that were launched when it came."""
    reports = take_updates(state, data, wait_at=wait_at, signal=came)
    return [(report, state.step) for report in reports]


def test_the_loop_ends_with_the_schedule(make_data: MakeData, make_state: MakeState) -> None:
    state = make_state(schedule=schedule(6))
    reports = [report for report, _ in take(state, make_data())]
    assert [report.step for report in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[-1].loss < reports[0].loss
    assert take(state, make_data()) == []


def test_reports_come_late_but_where_they_are_waited_for(
    make_data: MakeData, make_state: MakeState
) -> None:
    late = take(make_state(), make_data(), wait_at=lambda step: step in (3, 4))
    assert [(report.step, launched) for report, launched in late] == [
        *((1, 2), (2, 3), (3, 3), (4, 4)),
        *((5, 6), (6, 7), (7, 8), (8, 9), (9, 10), (10, 10)),
    ]
    prompt = take(make_state(), make_data(), wait_at=lambda _: True)
    assert [report for report, _ in late] == [report for report, _ in prompt]


@pytest.mark.parametrize("waits", [True, False])
def test_a_signal_ends_the_loop_at_the_state_of_its_report(
    waits: bool, make_data: MakeData, make_state: MakeState
) -> None:
    state = make_state()
    reports = take(
        state,
        make_data(),
        wait_at=lambda _: waits,
        came=lambda: int(signal.SIGTERM) if state.step >= 3 else None,
    )
    last, launched = reports[-1]
    assert last.signal == signal.SIGTERM
    assert last.step == launched == state.step == (4 if waits else 5)
    assert all(report.signal is None for report, _ in reports[:-1])


def test_what_follows_a_failed_update_is_not_stepped(
    make_data: MakeData, make_state: MakeState
) -> None:
    state, seen = make_state(), []
    true_loss: Any = state.model.loss

    def loss(batch: Batch, label_smoothing: float) -> Tensor:
        factor = math.nan if state.step == 2 else 1.0
        return true_loss(batch, label_smoothing) * factor

    state.model.loss = loss  # type: ignore[method-assign]
    state.optimizer.register_step_post_hook(lambda *_: seen.append(weights(state)))
    with pytest.raises(TrainingFault, match="update 3 of 10"):
        take(state, make_data())
    assert len(seen) == 4
    for name, value in seen[1].items():
        assert torch.equal(value, seen[2][name])
        assert torch.equal(value, seen[3][name])
    assert state.step == 2
