"""Linear layers in 8-bit integers, for decoding on a CPU.

Notable: weights are quantised once, one scale an output, activations anew in each call, one scale a
tensor; products are integer, and what lies between the layers stays float32. Only attention works
in bfloat16 where the processor can: beside 8-bit layers it would take a third of the time. The head
is quantised as well; the word embeddings that it shares its weights with are not, since looking
rows up costs nothing. What comes out is close to, not the same as, float32.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from s2s_ft.cli import EnvironmentFault
from s2s_ft.model.seq2seq import Seq2SeqModel

_ENGINES = ("onednn", "x86", "fbgemm")
"""torch's integer kernels, fastest first."""

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
        self._packed = torch.ops.quantized.linear_prepack(steps, bias)
        self.in_features = linear.in_features
        self.out_features = linear.out_features

    def forward(self, rows: Tensor) -> Tensor:
        """[..., in_features] float32 -> [..., out_features] float32."""
        result: Tensor = torch.ops.quantized.linear_dynamic(rows, self._packed)
        return result


def quantize_linear_layers(model: Seq2SeqModel) -> int:
    """Put 8-bit layers in the place of a model's linear layers.

    Args:
        model: On the CPU, in float32; changed in place, no longer to be trained or saved.

    Returns:
        How many layers were replaced.

    Raises:
        EnvironmentFault: This build of torch has no integer kernels for this processor.
    """
    engines = [
        engine for engine in _ENGINES if engine in torch.backends.quantized.supported_engines
    ]
    if not engines:
        raise EnvironmentFault(
            "--int8: this build of torch has no 8-bit kernels for this processor; leave it out"
        )
    torch.backends.quantized.engine = engines[0]
    found = [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if type(layer) is nn.Linear
    ]
    for parent, name, layer in found:
        setattr(parent, name, QuantizedLinear(layer))
    if torch.cpu._is_avx512_bf16_supported():
        model.cache_dtype = torch.bfloat16
    return len(found)
