"""Linear layers in 8-bit integers, for decoding on a CPU.

Notable: weights are quantised once, one scale an output, activations anew in each call, one scale a
tensor; products are integer, and what lies between the layers stays float32. Only attention works
in bfloat16 where the processor can: beside 8-bit layers it would take a third of the time. Each
weight is packed for two of torch's kernels, one that is fast for many rows (sources, the head) and
one for the few of a step, where it takes half of the time. The head is quantised as well; the word
embeddings that it shares its weights with are not, since looking rows up costs nothing. What comes
out is close to, not the same as, float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from s2s_ft.cli import EnvironmentFault
from s2s_ft.model.packed import replace_linear_layers
from s2s_ft.model.seq2seq import Seq2SeqModel

_FOR_MANY_ROWS, _FOR_FEW_ROWS = ("onednn", "x86", "fbgemm"), ("fbgemm", "onednn")
"""torch's integer kernels, fastest first."""

FEW_ROWS = 64
"""Up to so many rows, of layers whose weight a core's cache can hold, are few."""

SMALL_WEIGHT = 1 << 22
"""Numbers in a weight, a byte each, that are held by the cache."""

_LARGEST = 127
"""A weight lies in [-127, 127] steps of its output's scale."""


class QuantizedLinear(nn.Module):
    """A linear layer with 8-bit weights."""

    def __init__(self, linear: nn.Linear) -> None:
        """Quantise a layer; its own weights are left as they are."""
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp(min=1e-8) / _LARGEST
        zeros = torch.zeros(len(scales), dtype=torch.long)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces another home for these functions
            steps = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        bias = None if linear.bias is None else linear.bias.detach().float()
        self._for_many = _packed(steps, bias, _FOR_MANY_ROWS)
        is_small = weight.numel() <= SMALL_WEIGHT
        self._for_few = _packed(steps, bias, _FOR_FEW_ROWS) if is_small else self._for_many
        self.in_features = linear.in_features
        self.out_features = linear.out_features

    def forward(self, rows: Tensor) -> Tensor:
        """[..., in_features] float32 -> [..., out_features] float32."""
        is_few = rows.numel() <= FEW_ROWS * self.in_features
        result: Tensor = torch.ops.quantized.linear_dynamic(
            rows, self._for_few if is_few else self._for_many
        )
        return result


def _packed(steps: Tensor, bias: Tensor | None, engines: Sequence[str]) -> Any:
    """A weight as the first of some engines that there is wants it."""
    supported = torch.backends.quantized.supported_engines
    usual = torch.backends.quantized.engine
    try:
        torch.backends.quantized.engine = next(each for each in engines if each in supported)
        return torch.ops.quantized.linear_prepack(steps, bias)
    finally:
        torch.backends.quantized.engine = usual


def quantize_linear_layers(model: Seq2SeqModel) -> int:
    """Put 8-bit layers in the place of a model's linear layers.

    Args:
        model: On the CPU, in float32; changed in place, no longer to be trained or saved.

    Returns:
        How many layers were replaced, all or none (see `replace_linear_layers`).

    Raises:
        EnvironmentFault: This build of torch has no integer kernels for this processor.
    """
    supported = torch.backends.quantized.supported_engines
    if not all(set(each) & set(supported) for each in (_FOR_MANY_ROWS, _FOR_FEW_ROWS)):
        raise EnvironmentFault(
            "--int8: this build of torch has no 8-bit kernels for this processor; leave it out"
        )
    count = replace_linear_layers(model, QuantizedLinear)
    if count and torch.cpu._is_avx512_bf16_supported():
        model.cache_dtype = torch.bfloat16
    return count
