"""Weights, gradients and optimizer spread over the ranks (FSDP2), and brought together again.

    sharded       each layer, and all the rest, is a group whose weights are cut along their first
                  dimension; a group is whole on a rank only while it is computed
    a checkpoint  whole tensors under the names of the bare model, as one process writes them

Notable: what is saved does not know how many ranks made it, so a run may go on with or without
`--fsdp` and on another number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from s2s_ft.model.parts import encoder_layers
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.model.torch_release import require_torch

OptimizerState = dict[str, dict[str, Tensor]]
"""Name of a parameter -> `exp_avg`, `exp_avg_sq`, `step` -> tensor."""


def shard(model: Seq2SeqModel, device: torch.device, size: int) -> nn.Module:
    """Spread a model over all ranks; it is changed and returned.

    Args:
        model: On the CPU, with the same weights on every rank; layer by layer they go to the
            device, and only this rank's part of them stays there.
        device: Of this rank.
        size: Ranks.
    """
    mesh = init_device_mesh(device.type, (size,))
    layers = [layer for _, layer in encoder_layers(model.encoder)]
    parts = [fully_shard(each, mesh=mesh) for each in (*layers, model)]
    # On the way back each group has the next one fetched. Left to itself FSDP2 takes the order of
    # all passes forward since the last way back, those of a look among them; ranks that had no
    # held-out rows would fetch others' weights. What the first layer names is whole until the end.
    for part, following in pairwise([*reversed(parts), parts[-1]]):
        part.set_modules_to_backward_prefetch([following])
    return model


def check_torch(device: torch.device, *, looks: bool) -> None:
    """Make sure that this torch can do what is wanted, before anything slow is done.

    Args:
        device: Of this rank.
        looks: Whether held-out rows will be decoded, for which weights are brought together.

    Raises:
        EnvironmentFault: torch is too old.
    """
    if device.type == "cpu":  # there were no events of a CPU
        require_torch("2.7", "--fsdp on a CPU")
    if looks:  # FSDPModule.set_reshard_after_forward
        require_torch("2.8", "--fsdp with --dev_file")


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Whole weights on every rank inside; nothing happens where they are not spread.

    Ranks that decode different rows take different numbers of steps, so no step may have to meet
    the other ranks: the weights (not gradients or optimizer) are brought together once. All ranks
    must come here.
    """
    sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
    try:
        for module in sharded:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        yield
    finally:
        for module in sharded:
            # As FSDP2 itself has it: all but the outermost give their weights back at once.
            module.set_reshard_after_forward(module is not model, recurse=False)
            module.reshard()


def full_model_state(model: nn.Module) -> dict[str, Tensor]:
    """Every weight, whole, by name; all ranks must come here.

    Returns:
        On a model that is not sharded its own tensors; else copies on the CPU of rank 0, and
        nothing on the others.
    """
    return _on_main({name: _gathered(value) for name, value in model.state_dict().items()})


def load_full_model_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put whole weights into a model; all ranks must come here with the same ones.

    Args:
        model: Changed in place.
        state: By the names of `full_model_state`; what it lacks stays.

    Raises:
        KeyError: The model has no such weight.
    """
    own = model.state_dict()
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(_like(value, own[name]))


def full_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> OptimizerState:
    """The optimizer's state of every parameter, whole; all ranks must come here.

    Returns:
        See `full_model_state`; parameters that were never updated have no state.
    """
    gathered = {
        name: {key: _gathered(value) for key, value in optimizer.state[parameter].items()}
        for name, parameter in model.named_parameters()
        if optimizer.state.get(parameter)
    }
    return {name: state for name, values in gathered.items() if (state := _on_main(values))}


def load_full_optimizer_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Give the optimizer a whole state; all ranks must come here with the same one.

    Args:
        model: Whose parameters the optimizer has.
        optimizer: Changed in place.
        state: As `full_optimizer_state` gives it on rank 0.

    Raises:
        KeyError: It has a state of a parameter that the optimizer does not train; the name.
    """
    parameters = dict(model.named_parameters())
    members = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    index = {parameter: number for number, parameter in enumerate(members)}
    content = optimizer.state_dict()
    content["state"] = {}
    for name, values in state.items():
        parameter = parameters[name]
        if parameter not in index:
            raise KeyError(name)
        content["state"][index[parameter]] = {
            key: _like(value, parameter) if value.shape == parameter.shape else value
            for key, value in values.items()
        }
    optimizer.load_state_dict(content)


def _gathered(value: Tensor) -> Tensor | None:
    """A tensor, or the whole of a sharded one: on rank 0 in its CPU's memory, None elsewhere."""
    if not isinstance(value, DTensor):
        return value
    whole = value.full_tensor().detach()
    return whole.cpu() if dist.get_rank() == 0 else None


def _on_main(values: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Nothing where a rank was left without a part of it."""
    whole = {name: value for name, value in values.items() if value is not None}
    return whole if len(whole) == len(values) else {}


def _like(value: Tensor, own: Tensor) -> Tensor:
    """A whole tensor, cut up as one of the model's own is."""
    if not isinstance(own, DTensor):
        return value
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements)
