"""Linear layers for training on a CPU: the bias is added inside the product, the gradients written
out.

Notable: torch copies the bias into every row of the result and has the product added to it; a pass
over the result more, which in the layers with many outputs is a sixth of the product. oneDNN adds
it where the result is at hand. Under autocast each layer casts its own weights in each pass.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_ft.model.precision import has_amx


@functools.cache
def knows_plain_weights(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies numbers of this type by weights that are not packed."""
    if not torch._C._has_mkldnn or dtype not in (torch.float32, torch.bfloat16):
        return False
    weight = torch.ones(8, 16, dtype=dtype)
    try:
        with torch.inference_mode():
            found = torch.ops.mkldnn._linear_pointwise(
                weight[:3], weight, weight[0, :8], "none", [], ""
            )
    except (RuntimeError, AttributeError):  # the operators are torch's own affair
        return False
    return bool(found.eq(17).all())


class CpuLinear(nn.Linear):
    """`nn.Linear`, faster in training on a CPU, and torch's own wherever that cannot be."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features], in the type of autocast where that is on."""
        if self.bias is None or torch.compiler.is_compiling() or input.device.type != "cpu":
            return super().forward(input)
        dtype = input.dtype
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        elif dtype != self.weight.dtype:
            return super().forward(input)  # which says what is wrong
        # In float32 torch sends products to oneDNN only where that was asked for.
        is_torchs = dtype == torch.float32 and torch.get_float32_matmul_precision() != "medium"
        if is_torchs or not knows_plain_weights(dtype):
            return super().forward(input)
        result: Tensor = _Linear.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, dtype
        )
        return result


class _Linear(torch.autograd.Function):
    """x W^T + b."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        """Multiply in the given type."""
        rows, used = rows.to(dtype), weight.to(dtype)
        ctx.save_for_backward(rows, used)
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, used, bias.to(dtype), "none", [], ""
        )
        return result

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Those gradients that somebody wants."""
        rows, weight = ctx.saved_tensors
        flat = upstream.reshape(-1, upstream.shape[-1])
        to_rows, to_weight, to_bias, _ = ctx.needs_input_grad
        return (
            F.linear(upstream, weight.t()) if to_rows else None,
            weight_gradient(flat, rows.reshape(-1, rows.shape[-1])) if to_weight else None,
            flat.sum(dim=0) if to_bias else None,
            None,
        )


WIDER = 2
"""How many times as wide one side of a layer is if the other is worth transposing."""

MANY_ROWS = 1024
"""Rows from which on it is worth it even where the gradient comes out transposed."""


def weight_gradient(upstream: Tensor, rows: Tensor) -> Tensor:
    """upstream^T rows, the gradient of a linear layer's weight.

    Args:
        upstream: [N, out_features].
        rows: [N, in_features], of the same type.

    Returns:
        [out_features, in_features], contiguous.
    """
    if rows.dtype is torch.bfloat16 and has_amx():
        # There oneDNN takes longer to read a transposed left side than to multiply.
        count, outputs, inputs = *upstream.shape, rows.shape[1]
        if inputs >= WIDER * outputs:
            return upstream.t().contiguous() @ rows
        if outputs >= WIDER * inputs and count >= max(MANY_ROWS, outputs // WIDER):
            return (rows.t().contiguous() @ upstream).t().contiguous()
    return upstream.t() @ rows


def use_cpu_linear(encoder: nn.Module) -> int:
    """Have every `nn.Linear` of an encoder compute as above; weights, names and hooks stay.

    Returns:
        How many there are; none where oneDNN is missing.
    """
    if not knows_plain_weights(torch.float32):
        return 0
    found = [module for module in encoder.modules() if type(module) is nn.Linear]
    for module in found:
        module.__class__ = CpuLinear
    return len(found)
