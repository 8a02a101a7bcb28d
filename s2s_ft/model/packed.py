"""Linear layers whose weights lie in memory in the order in which products read them, for decoding
on a CPU.

    nn.Linear       weight as it is stored  ->  put in order, for each product anew  ->  product
    PackedLinear    put in order once                                                ->  product

Notable: a step of a search feeds a few rows to every layer, so putting its weight in order is a
large part of the product, up to half of it. oneDNN does the same sums either way, of many rows even
bit for bit. Packed weights can be neither trained, saved, copied nor moved to another device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from s2s_ft.model.interface import check_interface
from s2s_ft.model.seq2seq import Seq2SeqModel

logger = logging.getLogger(__name__)

_HOOKS = (
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
)
"""Where a module keeps what is called around its forward pass."""

EXPECTED_ROWS = 16
"""How many rows the order is chosen for; it suits any number nearly as well."""


class PackedLinear(nn.Module):
    """A linear layer with its weight in oneDNN's order."""

    def __init__(self, linear: nn.Linear) -> None:
        """Pack a layer on the CPU; its own weights are left as they are.

        Raises:
            RuntimeError: This build of torch, or this processor, has no such products.
        """
        super().__init__()
        weight = linear.weight.detach()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, EXPECTED_ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._dtype = weight.dtype
        self.in_features = linear.in_features
        self.out_features = linear.out_features

    def forward(self, rows: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features], in the weight's type."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows.to(self._dtype), self._packed, self._bias, "none", [], ""
        )
        return result


def pack_linear_layers(model: Seq2SeqModel) -> int:
    """Put packed layers in the place of a model's linear layers.

    Args:
        model: On the CPU, in float32 or bfloat16; changed in place, no longer to be trained or
            saved.

    Returns:
        How many layers were replaced; none where oneDNN is missing or does not know the type.
    """
    if not knows_products(model.encoder.dtype):
        return 0
    return replace_linear_layers(model, PackedLinear)


def replace_linear_layers(model: Seq2SeqModel, made: Callable[[nn.Linear], nn.Module]) -> int:
    """Put others in the place of a model's linear layers, the head among them.

    Args:
        model: Changed in place. Word embeddings that share their weights with the head stay, and
            so do hooks.
        made: Makes the other layer.

    Returns:
        How many layers were replaced: all or, in families whose code reads the weights of a linear
        layer without calling it (MobileBERT's head), none.
    """
    places = [
        (parent, name)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if type(layer) is nn.Linear
    ]
    for parent, name in places:
        setattr(parent, name, _OnlyCalled(getattr(parent, name)))
    chosen: Callable[[nn.Linear], nn.Module] = _unchanged
    try:
        check_interface(model, "the model")
        chosen = made
    except ValueError as reason:
        logger.debug("linear layers stay as they are: %s", reason.__cause__)
    finally:
        # One by one, so that the memory of the weights serves for those that come in their place.
        for parent, name in places:
            layer = getattr(parent, name).layer[0]
            other = chosen(layer)
            for hooks in _HOOKS:
                setattr(other, hooks, getattr(layer, hooks))
            setattr(parent, name, other)
            del layer
    return len(places) if chosen is made else 0


class _OnlyCalled(nn.Module):
    """A linear layer that can be called, and nothing else."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = [layer]  # in a list it is no part of the module

    def forward(self, rows: Tensor) -> Tensor:
        result: Tensor = self.layer[0](rows)
        return result


def _unchanged(layer: nn.Linear) -> nn.Module:
    return layer


def knows_products(dtype: torch.dtype) -> bool:
    """Whether a small product comes out as torch's own does."""
    if not torch._C._has_mkldnn or dtype not in (torch.float32, torch.bfloat16):
        return False
    # Without the usual start, which would draw random numbers that a training run counts on.
    layer = nn.Linear(32, 48, dtype=dtype, device="meta").to_empty(device="cpu")
    rows = torch.linspace(-1, 1, 3 * 32, dtype=dtype).view(3, 32)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1, 1, 48 * 32).view(48, 32))
        layer.bias.copy_(torch.linspace(-1, 1, 48))
    try:
        with torch.inference_mode():
            return torch.allclose(PackedLinear(layer)(rows), layer(rows), rtol=1e-2, atol=1e-2)
    except (RuntimeError, AttributeError) as reason:  # the operators are torch's own affair
        logger.debug("linear layers are not packed: %s", reason)
        return False
