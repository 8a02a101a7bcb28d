"""AdamW over two groups of parameters: those that decay and those that do not.

Notable: biases and normalisation weights never decay. They are told by their shape and not by the
    names of one
family: whatever has fewer than two dimensions, and whatever carries "bias" in its name. The second
    half also covers
the relative-position table of UniLM (`rel_pos_bias.weight`), which the original never decayed
    either.

torch's AdamW decays before the update and adds epsilon after the bias correction; the optimizer
the original used does both the other way round. The difference is far below the noise of training
and is held to the golden cases.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies to a parameter."""
    return parameter.ndim >= 2 and "bias" not in name


def make_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    weight_decay: float,
    epsilon: float,
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, fused into one kernel.

    Args:
        named_parameters: As `Module.named_parameters` gives them; frozen ones are left out.
        weight_decay: Decoupled weight decay of the first group; the second has none.
        epsilon: Added to the root of the second moment.

    Returns:
        An optimizer whose learning rate is 0 until `set_learning_rate` gives it one.
    """
    trainable = [
        (name, parameter) for name, parameter in named_parameters if parameter.requires_grad
    ]
    groups = [
        {
            "params": [parameter for name, parameter in trainable if decays(name, parameter)],
            "weight_decay": weight_decay,
        },
        {
            "params": [parameter for name, parameter in trainable if not decays(name, parameter)],
            "weight_decay": 0.0,
        },
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=epsilon, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group the learning rate of the coming update."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def trained_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Every parameter the optimizer updates, in the order of its groups."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
