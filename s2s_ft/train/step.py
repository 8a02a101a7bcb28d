"""One update of the weights, and the loop that takes them one after another.

    rows of update s, from the order of its epoch    | i0 i1 i2 i3 | i4 i5 i6 i7 | i8 i9 |
    micro-batches, dealt to the ranks in turn        |   rank 0    |   rank 1    | rank 0|
    each of them                                        forward and backward, gradients add up
    then, over all ranks                                norm, look at loss and norm, clip, step

Notable: each micro-batch contributes its summed loss divided by the supervised tokens of the whole
update over all ranks, so that every way of cutting the same examples is the same update. Dropout
is seeded for each micro-batch from (seed, update, number of the micro-batch), so nothing outside
an update can disturb it and no random state needs saving.

Where loss or gradient norm is not finite, nothing is stepped. torch's fused AdamW takes that
verdict, and the factor of the clipping, as tensors; then the host need not wait for the device and
launches the next update while this one still runs: the report of an update comes one update late,
except where it is waited for, and to have it the host waits for that update's own numbers and for
nothing behind them. What follows a failed update is not stepped either. With float16 an overflowing
gradient is no failure while the scaler can still lower its scale.
"""

from __future__ import annotations

import hashlib
import math
import signal as signals
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from s2s_ft.cli import TrainingFault
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.train.distributed import World
from s2s_ft.train.failure import CALMER, what_failed
from s2s_ft.train.feed import MicroBatch, TrainingData
from s2s_ft.train.layers import freeze_for
from s2s_ft.train.optimizer import set_learning_rate, trained_parameters
from s2s_ft.train.precision import Precision
from s2s_ft.train.schedule import Schedule
from s2s_ft.transfer import Fetched, sent

STOP_SIGNALS = (signals.SIGTERM, signals.SIGINT, signals.SIGUSR1)  # the ranks tell one another


@dataclass(frozen=True)
class StepReport:
    """What an update did.

    Attributes:
        step: Updates done, this one included.
        loss: Mean per supervised token over the update.
        grad_norm: L2 norm of the whole gradient before clipping.
        learning_rate: Rate that the update was taken with.
        tokens: Supervised target tokens, over all ranks.
        examples: Examples, over all ranks.
        signal: Number of a stop signal that came to any rank, or None.
    """

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    examples: int
    signal: int | None = None


@dataclass
class TrainState:
    """What changes while training, and the fixed numbers an update needs.

    Attributes:
        model: The bare model.
        network: What is called as `network(batch, label_smoothing)`: the model, or what wraps it
            to bring the ranks together. The result is summed over supervised tokens.
        optimizer: As made by `make_optimizer`.
        precision: Arithmetic of the forward pass and of the step.
        schedule: Gives the learning rate of every update.
        peak_learning_rate: Learning rate at the end of the warm-up.
        max_grad_norm: Gradients are scaled down to this L2 norm; 0 = never.
        label_smoothing: Probability that the loss takes from the label.
        seed: Fixes dropout, together with update and micro-batch.
        world: The ranks that train together.
        unfreeze_steps: Updates between the unfreezing of two layers, 0 = all are trained.
        step: Updates launched so far, which is also the number of the next one.
    """

    model: Seq2SeqModel
    network: nn.Module
    optimizer: torch.optim.Optimizer
    precision: Precision
    schedule: Schedule
    peak_learning_rate: float
    max_grad_norm: float
    label_smoothing: float
    seed: int
    world: World
    unfreeze_steps: int = 0
    step: int = 0
    _failed: Tensor | None = None


@dataclass(frozen=True)
class _Launched:
    """An update on its way.

    Attributes:
        report: What is known before the device is done; loss and norm are not.
        micro_batches: Of this rank.
        numbers: Over all ranks: supervised tokens, examples, ranks with each stop signal, loss,
            gradient norm, and whether it failed.
    """

    report: StepReport
    micro_batches: Sequence[MicroBatch]
    numbers: Fetched


def train_step(state: TrainState, micro_batches: Sequence[MicroBatch]) -> StepReport:
    """Take one update and wait for it.

    Args:
        state: Its model, optimizer and step are changed, unless the update fails.
        micro_batches: This rank's parts of the update, at least one.

    Returns:
        The update's loss, gradient norm, learning rate and size.

    Raises:
        TrainingFault: Loss or gradient is not finite; no weight has been changed.
    """
    return _settle(state, _launch(state, micro_batches, signal=None))


def take_updates(
    state: TrainState,
    data: TrainingData,
    *,
    wait_at: Callable[[int], bool],
    signal: Callable[[], int | None],
) -> Iterator[StepReport]:
    """Take the updates that the schedule has left; ends after the report that carries a signal.

    Args:
        state: Changed by every update; its step says where in the data to go on.
        data: Where the micro-batches come from.
        wait_at: Whether something is to be done with the state right after this many updates. The
            report of such an update, and the last one, come before another update is launched;
            others may come one update late (then `report.step < state.step`).
        signal: A stop signal that has come to this rank, or None.

    Raises:
        TrainingFault: See `train_step`.
    """
    state.model.train()
    pending: _Launched | None = None
    stop: int | None = None
    for micro_batches in data.updates(state.schedule, state.step):
        launched = _launch(state, micro_batches, signal())
        if pending is not None:
            report = _settle(state, pending)
            stop = report.signal
            yield replace(report, signal=None)  # one update too old to stop at
        pending = launched
        if stop is not None or wait_at(launched.report.step):
            report = _settle(state, launched)
            pending, stop = None, report.signal or stop
            yield replace(report, signal=stop)
            if stop is not None:
                return
    if pending is not None:
        yield _settle(state, pending)


def _launch(
    state: TrainState, micro_batches: Sequence[MicroBatch], signal: int | None
) -> _Launched:
    """Do all of an update, in most cases without waiting for the device."""
    learning_rate = state.schedule.learning_rate(state.step, state.peak_learning_rate)
    set_learning_rate(state.optimizer, learning_rate)
    if state.unfreeze_steps > 0:
        freeze_for(state.model, state.step, state.unfreeze_steps)
    counts = _count(state, micro_batches, signal)
    loss = state.world.add_up(_accumulate_gradients(state, micro_batches, counts[0]))
    state.precision.unscale(state.optimizer)
    norm = _gradient_norm(state)
    failed = ~(torch.isfinite(loss) & (torch.isfinite(norm) | state.precision.may_overflow()))
    if state._failed is not None:
        failed |= state._failed
    state._failed = failed
    state.precision.step(state.optimizer, norm=norm, max_norm=state.max_grad_norm, skip=failed)
    state.step += 1
    report = StepReport(state.step, math.nan, math.nan, learning_rate, tokens=0, examples=0)
    numbers = Fetched(torch.cat([counts, torch.stack([loss, norm, failed.float()])]))
    return _Launched(report, micro_batches, numbers)


def _settle(state: TrainState, launched: _Launched) -> StepReport:
    """Wait for an update and look at it."""
    tokens, examples, *signalled, loss, norm, failed = launched.numbers.values()
    if failed:
        state.step = launched.report.step - 1
        raise TrainingFault(_diagnosis(state, launched, tokens, loss, norm))
    came = [number for number, count in zip(STOP_SIGNALS, signalled, strict=True) if count]
    return replace(
        launched.report,
        loss=loss,
        grad_norm=norm,
        tokens=int(tokens),
        examples=int(examples),
        signal=int(came[0]) if came else None,
    )


def _count(state: TrainState, micro_batches: Sequence[MicroBatch], signal: int | None) -> Tensor:
    """[5] float64 over all ranks: supervised tokens, examples, and ranks with each stop signal."""
    real = [part.batch for part in micro_batches if part.weight > 0.0]
    counts = [
        float(sum(batch.num_supervised for batch in real)),
        float(sum(batch.num_examples for batch in real)),
        *(float(signal == number) for number in STOP_SIGNALS),
    ]
    return state.world.add_up(
        sent(torch.tensor(counts, dtype=torch.float64), state.precision.device)
    )


def _accumulate_gradients(
    state: TrainState, micro_batches: Sequence[MicroBatch], tokens: Tensor
) -> Tensor:
    """Send every micro-batch forward and back; returns this rank's share of the update's loss."""
    state.optimizer.zero_grad()
    ranks = state.world.size
    # The ranks' gradients are averaged, and their sum is what is wanted.
    share = (ranks / tokens).float()
    total = torch.zeros((), device=state.precision.device)
    for number, part in enumerate(micro_batches):
        is_last = number == len(micro_batches) - 1
        _seed_dropout(state.seed, state.step, part.number)
        with _gradient_exchange(state.network, wanted=is_last):
            with state.precision.autocast():
                loss = state.network(part.batch, state.label_smoothing, share * part.weight)
            state.precision.backward(loss)
        total += loss.detach()
    return total / ranks


def _gradient_norm(state: TrainState) -> Tensor:
    """L2 norm of the gradient of all ranks, float32 scalar."""
    parameters = trained_parameters(state.optimizer)
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return whole.float()


def _gradient_exchange(network: nn.Module, *, wanted: bool) -> AbstractContextManager[None]:
    """Have the backward pass inside bring the ranks' gradients together, or not yet."""
    if isinstance(network, DistributedDataParallel):
        return nullcontext() if wanted else network.no_sync()
    if hasattr(network, "set_requires_gradient_sync"):  # FSDP2
        network.set_requires_gradient_sync(wanted)  # type: ignore[operator]
    return nullcontext()


def _seed_dropout(seed: int, step: int, number: int) -> None:
    """Give torch's generators a state of their own for one micro-batch of one update."""
    digest = hashlib.blake2b(f"{seed} {step} {number}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "big") >> 1)


def _diagnosis(
    state: TrainState, launched: _Launched, tokens: float, loss: float, norm: float
) -> str:
    """What was wrong with an update, and where: its passes are done again, on the same weights."""
    state.optimizer.zero_grad()
    losses = []
    for part in launched.micro_batches:
        _seed_dropout(state.seed, state.step, part.number)
        with state.precision.autocast():
            each = state.network(part.batch, state.label_smoothing, part.weight / tokens)
        each.backward()
        losses.append(float(each.detach()))
    told = what_failed(state.model, launched.micro_batches, losses, loss=loss, norm=norm)
    state.optimizer.zero_grad()
    return (
        f"update {launched.report.step} of {state.schedule.total_steps}: {told}; "
        f"nothing was stepped, earlier checkpoints stand; {CALMER}"
    )
