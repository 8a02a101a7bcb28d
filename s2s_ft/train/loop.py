"""One update of the weights, and the loop that takes them one after another.

Notable: an update is a global batch cut into micro-batches. Each micro-batch contributes its
summed loss divided by the supervised tokens of the whole update, so that 1 x 4 and 4 x 1
accumulation are the same update. Loss and gradient are looked at before the optimizer moves: where
one of them is not finite nothing is stepped. That look is the one moment of an update in which the
host waits for the device. With float16 an overflowing gradient is no failure while the scaler can
still lower its scale; the scaler leaves that update out.

    rows of update s, from the order of its epoch   | i0 i1 i2 i3 | i4 i5 i6 i7 | i8 i9 |
    micro-batches                                   |  forward,   |  forward,   |  ...  |
                                                    |  backward   |  backward   |       |
    then: gradient norm, check, clip, step
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from s2s_ft.cli import TrainingFault
from s2s_ft.data.batches import epoch_batches, example_generator
from s2s_ft.data.features import FeatureStore
from s2s_ft.layout import Batch, IntArray
from s2s_ft.methods import Method
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.train.optimizer import set_learning_rate, trained_parameters
from s2s_ft.train.precision import Precision
from s2s_ft.train.schedule import Schedule

MAX_EXAMPLES_NAMED = 20
"""Examples that the message about a failed update lists."""


@dataclass(frozen=True)
class MicroBatch:
    """A part of an update that goes through the model at once.

    Attributes:
        indices: [B] int64 row numbers of the examples in the training data, from 0.
        batch: The examples, laid out, on the device.
    """

    indices: IntArray
    batch: Batch


@dataclass(frozen=True)
class StepReport:
    """What an update did.

    Attributes:
        loss: Mean per supervised token over the update.
        grad_norm: L2 norm of the whole gradient before clipping.
        learning_rate: Rate that the update was taken with.
        tokens: Supervised target tokens.
        examples: Examples.
    """

    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    examples: int


@dataclass
class TrainState:
    """What changes while training, and the fixed numbers an update needs.

    Attributes:
        model: Its `loss(batch, label_smoothing)` is summed over supervised tokens.
        optimizer: As made by `make_optimizer`.
        precision: Arithmetic of the forward pass and of the step.
        schedule: Gives the learning rate of every update.
        peak_learning_rate: Learning rate at the end of the warm-up.
        max_grad_norm: Gradients are scaled down to this L2 norm; 0 = never.
        label_smoothing: Probability that the loss takes from the label.
        step: Updates taken so far, which is also the number of the next one.
    """

    model: Seq2SeqModel
    optimizer: torch.optim.Optimizer
    precision: Precision
    schedule: Schedule
    peak_learning_rate: float
    max_grad_norm: float
    label_smoothing: float
    step: int = 0


@dataclass(frozen=True)
class TrainingData:
    """The examples of a run and how they become micro-batches.

    Attributes:
        store: Token ids of every example.
        method: Corrupts and lays out.
        seed: With the epoch it fixes the order, with epoch and row number the corruption
            of an example.
        micro_batch_size: Examples that go through the model at once.
        device: Where the batches go.
    """

    store: FeatureStore
    method: Method
    seed: int
    micro_batch_size: int
    device: torch.device

    def updates(self, schedule: Schedule, first: int) -> Iterator[list[MicroBatch]]:
        """The micro-batches of update `first` and of every one after it in the schedule."""
        costs = self.method.row_lengths(self.store.source_lengths, self.store.target_lengths)
        epoch, position = schedule.locate(first)
        remaining = schedule.total_steps - first
        while remaining > 0:
            batches = epoch_batches(costs, schedule.global_batch_size, self.seed, epoch)
            for indices in batches[position : position + remaining]:
                yield self.micro_batches(indices, epoch)
            remaining -= len(batches) - position
            epoch, position = epoch + 1, 0

    def micro_batches(self, indices: IntArray, epoch: int) -> list[MicroBatch]:
        """Corrupt and lay out the examples of one update; the last micro-batch may be smaller.

        Args:
            indices: Row numbers of the global batch.
            epoch: Counted from 0.
        """
        starts = range(0, len(indices), self.micro_batch_size)
        parts = [indices[start : start + self.micro_batch_size] for start in starts]
        return [MicroBatch(part, self._lay_out(part, epoch)) for part in parts]

    def _lay_out(self, indices: IntArray, epoch: int) -> Batch:
        """One micro-batch, each example corrupted by its own random stream."""
        examples = [
            self.method.corrupt(
                self.store.source(index),
                self.store.target(index),
                example_generator(self.seed, epoch, index),
            )
            for index in map(int, indices)
        ]
        return self.method.lay_out(examples).to(self.device)


def train_step(state: TrainState, micro_batches: Sequence[MicroBatch]) -> StepReport:
    """Take one update.

    Args:
        state: Its model, optimizer and step are changed, unless the update fails.
        micro_batches: The parts of the global batch, at least one.

    Returns:
        The update's loss, gradient norm, learning rate and size.

    Raises:
        TrainingFault: Loss or gradient is not finite; no weight has been changed.
    """
    tokens = sum(part.batch.num_supervised for part in micro_batches)
    learning_rate = state.schedule.learning_rate(state.step, state.peak_learning_rate)
    set_learning_rate(state.optimizer, learning_rate)
    losses = _accumulate_gradients(state, micro_batches, tokens)
    state.precision.unscale(state.optimizer)
    parameters = trained_parameters(state.optimizer)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    *loss_of_parts, grad_norm = torch.stack([*losses, norm]).tolist()
    _check_finite(state, micro_batches, loss_of_parts, grad_norm)
    if state.max_grad_norm > 0:
        nn.utils.clip_grads_with_norm_(parameters, state.max_grad_norm, norm)
    state.precision.step(state.optimizer)
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    return StepReport(
        loss=sum(loss_of_parts),
        grad_norm=grad_norm,
        learning_rate=learning_rate,
        tokens=tokens,
        examples=sum(part.batch.num_examples for part in micro_batches),
    )


def take_updates(state: TrainState, data: TrainingData) -> Iterator[StepReport]:
    """Take the updates that the schedule has left, one for each report that is asked for.

    Args:
        state: Changed by every update; its step says where in the data to go on.
        data: Where the micro-batches come from.

    Raises:
        TrainingFault: See `train_step`.
    """
    state.model.train()
    for micro_batches in data.updates(state.schedule, state.step):
        yield train_step(state, micro_batches)


def _accumulate_gradients(
    state: TrainState, micro_batches: Sequence[MicroBatch], tokens: int
) -> list[torch.Tensor]:
    """Send every micro-batch forward and back; returns their shares of the update's loss."""
    state.optimizer.zero_grad(set_to_none=True)
    losses = []
    for part in micro_batches:
        with state.precision.autocast():
            loss = state.model.loss(part.batch, state.label_smoothing) / tokens
        state.precision.backward(loss)
        losses.append(loss.detach().float())
    return losses


def _check_finite(
    state: TrainState,
    micro_batches: Sequence[MicroBatch],
    losses: Sequence[float],
    grad_norm: float,
) -> None:
    """Fail, with what was wrong and where, if the update must not be taken."""
    bad = [index for index, loss in enumerate(losses) if not math.isfinite(loss)]
    if not bad and (math.isfinite(grad_norm) or state.precision.may_overflow):
        return
    if bad:
        what = f"the loss is {losses[bad[0]]}"
    else:
        what = f"the gradient norm is {grad_norm} (first in {_first_bad_parameter(state.model)})"
    parts = [micro_batches[index] for index in bad] if bad else micro_batches
    state.optimizer.zero_grad(set_to_none=True)
    raise TrainingFault(
        f"update {state.step + 1} of {state.schedule.total_steps}: {what}, on {_named(parts)}; "
        "nothing was stepped and the last checkpoint stands; a lower --learning_rate, a longer "
        "--num_warmup_steps or a smaller --max_grad_norm may help"
    )


def _named(parts: Sequence[MicroBatch]) -> str:
    """The examples of some micro-batches, for a message."""
    rows = np.concatenate([part.indices for part in parts])
    first = ", ".join(str(row) for row in rows[:MAX_EXAMPLES_NAMED])
    more = f" and {len(rows) - MAX_EXAMPLES_NAMED} more" if len(rows) > MAX_EXAMPLES_NAMED else ""
    return f"examples {first}{more} (rows of the training data, from 0)"


def _first_bad_parameter(model: nn.Module) -> str:
    """Name of the first parameter whose gradient is not finite."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return name
    return "no single parameter; their sum overflows"
