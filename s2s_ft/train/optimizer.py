"""AdamW over groups of parameters: those that decay and those that do not, and one group for each
learning rate.

Notable: biases and normalisation weights never decay. They are told by their shape and not by the
names of one family: whatever has fewer than two dimensions, and whatever carries "bias" in its
name. The second half also covers the relative-position table of UniLM (`rel_pos_bias.weight`),
which the original never decayed either.

torch's AdamW decays before the update and adds epsilon after the bias correction; the optimizer
the original used does both the other way round. The difference is far below the noise of training
and is held to the golden cases.

FusedAdam of NVIDIA's apex is used where it is asked for. It counts updates for a group and not for
a parameter; the count is copied beside the moments after every update, so that its state has the
names of AdamW's and a checkpoint of one is a checkpoint of the other.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import nn

from s2s_ft.cli import EnvironmentFault

OptimizerKind = Literal["adamw", "apex"]

BETAS = (0.9, 0.999)
"""Decay of the first and of the second moment."""

HOW_TO_GET_APEX = "requirements.txt says how to build it, or leave --optimizer out"


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies to a parameter."""
    return parameter.ndim >= 2 and "bias" not in name


def make_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    weight_decay: float,
    epsilon: float,
    kind: OptimizerKind = "adamw",
    rate_factors: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """AdamW over the trainable parameters, fused into one kernel.

    Args:
        named_parameters: As `Module.named_parameters` gives them; frozen ones are left out.
        weight_decay: Decoupled weight decay of those that decay.
        epsilon: Added to the root of the second moment.
        kind: torch's AdamW, or FusedAdam of NVIDIA's apex.
        rate_factors: By parameter name what its learning rate is multiplied by; 1 where a name is
            missing. None: 1 for all.

    Returns:
        An optimizer whose learning rate is 0 until `set_learning_rate` gives it one. Each of its
        groups has the key `rate_factor`.

    Raises:
        EnvironmentFault: apex is asked for and cannot be used.
    """
    factors = rate_factors or {}
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            key = factors.get(name, 1.0), decays(name, parameter)
            members.setdefault(key, []).append(parameter)
    groups: list[dict[str, Any]] = [
        {
            "params": members[factor, does_decay],
            "weight_decay": weight_decay if does_decay else 0.0,
            "rate_factor": factor,
        }
        for factor, does_decay in sorted(members, reverse=True)
    ]
    if kind == "apex":
        return _apex_adam(groups, epsilon)
    return torch.optim.AdamW(groups, lr=0.0, betas=BETAS, eps=epsilon, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group the learning rate of the coming update, times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["rate_factor"]


def trained_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Every parameter the optimizer updates, in the order of its groups."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _apex_adam(groups: list[dict[str, Any]], epsilon: float) -> torch.optim.Optimizer:
    """FusedAdam of NVIDIA's apex, its count of updates kept with each parameter."""
    fused_adam = _find_fused_adam()
    try:
        optimizer: torch.optim.Optimizer = fused_adam(
            groups, lr=0.0, betas=BETAS, eps=epsilon, adam_w_mode=True
        )
    except (RuntimeError, ImportError) as error:
        raise EnvironmentFault(
            f"--optimizer apex: FusedAdam does not work here ({str(error).strip()}); it needs a "
            f"CUDA device and apex's CUDA extensions: {HOW_TO_GET_APEX}"
        ) from error
    optimizer.register_step_post_hook(_keep_count)
    optimizer.register_load_state_dict_post_hook(_restore_count)
    return optimizer


def _find_fused_adam() -> Any:
    """The class, if the installed `apex` is NVIDIA's."""
    try:
        module = importlib.import_module("apex.optimizers")
    except ModuleNotFoundError as error:
        if error.name == "apex":
            raise EnvironmentFault(
                f"--optimizer apex: NVIDIA's apex is not installed; {HOW_TO_GET_APEX}"
            ) from error
        module = None
    except Exception:  # whatever another project runs into while it is imported
        module = None
    fused_adam = getattr(module, "FusedAdam", None)
    if fused_adam is None:
        raise EnvironmentFault(
            "--optimizer apex: the installed package apex has no FusedAdam; the apex of PyPI is "
            f"another project than NVIDIA's: uninstall it; {HOW_TO_GET_APEX}"
        )
    return fused_adam


def _keep_count(optimizer: torch.optim.Optimizer, *_call: Any) -> None:
    """After an update: the group's count of updates beside the moments of each parameter."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter in optimizer.state:
                optimizer.state[parameter]["step"] = torch.tensor(float(group["step"]))


def _restore_count(optimizer: torch.optim.Optimizer) -> None:
    """After loading: the count of updates back to where FusedAdam looks for it."""
    for group in optimizer.param_groups:
        counts = [optimizer.state[p]["step"] for p in group["params"] if p in optimizer.state]
        if counts:
            group["step"] = int(max(counts))
