"""The parts of an encoder: its layers, how deep each weight stands, and where it came from.

Notable: families name their layers differently (`encoder.layer.3`, `layers.3`), but each keeps
them in one list whose length is in the config, with the embeddings before it and whatever follows
behind it. That order is all that is used.

    depth    0            1 … L        L + 1
             embeddings   layers       what stands behind them: last norm, head
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from s2s_ft.model.heads import is_head_weight

_ORIGIN = "_s2s_ft_origin"
"""Attribute of the encoder that keeps its `Origin`."""


@dataclass(frozen=True)
class Origin:
    """Where an encoder came from, and what follows for its weights (by their names in it).

    Attributes:
        name: Folder or hub id of the pretrained encoder.
        max_position_embeddings: As in its config, before the table grew; None where it has none.
        fresh: Head weights that it did not hold, so that they have to be learned.
        fixed: Weights that are never trained.
    """

    name: str = ""
    max_position_embeddings: int | None = None
    fresh: frozenset[str] = frozenset()
    fixed: frozenset[str] = frozenset()


def set_origin(encoder: PreTrainedModel, origin: Origin) -> None:
    """Keep the origin of an encoder with it."""
    setattr(encoder, _ORIGIN, origin)


def origin_of(encoder: PreTrainedModel) -> Origin:
    """The origin of an encoder, an empty one unless it was set."""
    origin: Origin = getattr(encoder, _ORIGIN, Origin())
    return origin


def encoder_layers(encoder: PreTrainedModel) -> list[tuple[str, nn.Module]]:
    """The layers, from the embeddings up, with their names in the encoder.

    Raises:
        ValueError: The family keeps them in no list of its own.
    """
    count = encoder.config.num_hidden_layers
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return [(f"{name}.{number}", layer) for number, layer in enumerate(module)]
    raise ValueError(
        f"encoders of type '{encoder.config.model_type}' keep their layers in no single list, so "
        "--layer_decay, --unfreeze_steps, --torch_compile and --peft cannot be used with them"
    )


def tied_names(encoder: PreTrainedModel) -> set[str]:
    """Names of the weights that are others under a second name, which files hold once."""
    return set(getattr(encoder, "all_tied_weights_keys", None) or {})


def put_weights(encoder: PreTrainedModel, weights: Mapping[str, Tensor]) -> list[str]:
    """Put weights into an encoder.

    Returns:
        Names of those that it has and `weights` lacks, and the other way round.
    """
    missing, unexpected = encoder.load_state_dict(weights, strict=False)
    tied = tied_names(encoder)
    return [*(name for name in missing if name not in tied), *unexpected]


def weight_depths(encoder: PreTrainedModel) -> dict[str, int]:
    """How deep each parameter stands (drawn at the top of this file).

    Returns:
        By the parameter's name in the encoder. A head that is tied to the word embeddings is as
        deep as they are.
    """
    layers = encoder_layers(encoder)
    words = encoder.get_input_embeddings().get_parameter("weight")
    behind = len(layers) + 1
    depths: dict[str, int] = {}
    depth_in_body = 0
    for name, parameter in encoder.named_parameters():
        number = _number_of(name, layers)
        if parameter is words:
            depths[name] = 0
        elif is_head_weight(encoder, name):  # some families name their head before their body
            depths[name] = behind
        else:
            depth_in_body = number + 1 if number is not None else behind * (depth_in_body > 0)
            depths[name] = depth_in_body
    return depths


def _number_of(name: str, layers: list[tuple[str, nn.Module]]) -> int | None:
    """Index of the layer that a weight belongs to, None where it is in none."""
    return next(
        (number for number, (layer, _) in enumerate(layers) if name.startswith(f"{layer}.")), None
    )
