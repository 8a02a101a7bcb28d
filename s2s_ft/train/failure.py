"""What the message about a failed update says: which examples, which parameter; and a last look at
the weights before they are saved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from s2s_ft.cli import TrainingFault, listed
from s2s_ft.model.finite import has_finite_ends
from s2s_ft.train.distributed import World
from s2s_ft.train.feed import MicroBatch

MAX_EXAMPLES_NAMED = 20
"""Examples that the message lists."""

CALMER = (
    "a lower --learning_rate, a longer --num_warmup_steps or a smaller --max_grad_norm may help"
)
"""What to do about a run that diverges."""


def what_failed(
    model: nn.Module,
    micro_batches: Sequence[MicroBatch],
    losses: Sequence[float],
    *,
    loss: float,
    norm: float,
) -> str:
    """Tell what was not finite, and where.

    Args:
        model: With the gradients of the failed update.
        micro_batches: This rank's parts of it.
        losses: Of each of them.
        loss: Of the whole update, over all ranks.
        norm: Of the gradient, over all ranks.
    """
    pairs = zip(micro_batches, losses, strict=True)
    bad = [part for part, each in pairs if not math.isfinite(each)]
    where, parameter = _named(bad or micro_batches), _first_bad_parameter(model)
    if math.isfinite(loss):
        return f"the gradient norm is {norm} (first in {parameter}), on {where}"
    if bad:
        return f"the loss is {loss}, on {where} (gradient first not finite in {parameter})"
    return f"the loss is {loss}, on examples of another rank, which names them"


def check_weights(model: nn.Module, world: World, step: int) -> None:
    """Make sure that what is about to be saved are numbers: the last update may have overflowed.

    Args:
        model: Its weights may be spread over the ranks; all of them come here.
        world: The ranks.
        step: Updates taken.

    Raises:
        TrainingFault: They are not; the same on every rank.
    """
    parameters = dict(model.named_parameters())
    own = [each.to_local() if isinstance(each, DTensor) else each for each in parameters.values()]
    bad = torch.stack([~has_finite_ends(each) for each in own])
    found = zip(parameters, world.add_up(bad.float()).tolist(), strict=True)
    first = next((name for name, ranks in found if ranks > 0), None)
    if first is not None:
        raise TrainingFault(
            f"after update {step} weights are not finite numbers (first in {first}): they are not "
            f"saved, earlier checkpoints stand; {CALMER}"
        )


def _named(parts: Sequence[MicroBatch]) -> str:
    """The examples of some micro-batches."""
    rows = np.concatenate([part.indices for part in parts])
    named = listed([str(row) for row in rows], MAX_EXAMPLES_NAMED)
    return f"examples {named} (rows of the training data, from 0)"


def _first_bad_parameter(model: nn.Module) -> str:
    """Name of the first parameter whose gradient is not finite."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return name
    return "no single parameter; their sum overflows"
