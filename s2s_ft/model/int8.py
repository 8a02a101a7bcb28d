"""Linear layers in 8-bit integers, for decoding on a CPU.

Notable: weights are quantised once, one scale an output, activations anew in each call, one scale a
row: with one for all, a single row with a large number takes the precision of the others. torch's
kernels have one scale for a whole tensor, taken from its smallest and largest numbers; so each row
is brought to the same range, and one row more holds the range's ends. The steps are then the same
whoever is in the batch, and as powers of two they are exact, so that kernels disagree in a last bit
at most. Attention's sums still hang on the batch in their last bits, which rounding to steps can
enlarge.

Products are integer, and what lies between the layers stays float32. Only attention works in
bfloat16 where the processor can: beside 8-bit layers it would take a third of the time. Each weight
is packed for two of torch's kernels, one that is fast for many rows (sources, the head) and one for
the few of a step, where it takes half of the time. The head is quantised as well; the word
embeddings that it shares its weights with are not, since looking rows up costs nothing. What comes
out is close to, not the same as, float32.
"""

from __future__ import annotations

import functools
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

SMALLEST = 1e-8
"""What a scale is at least."""

_NOT_ZERO = torch.tensor(SMALLEST)

_HEADROOM = 1 + 1e-6
"""Keeps a row's largest number within its range, however it is rounded."""


class _Rows:
    """Rows scaled to one range one by one; the last ones are kept, since queries, keys and values
    are made of the same.
    """

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    def scaled(self, rows: Tensor, *, keep: bool) -> tuple[Tensor, Tensor]:
        """The rows, with one more that holds the ends of the range, [N + 1, F]; and what they have
        been divided by, [N, 1].
        """
        last = self._last  # several threads may be here
        if last is not None and last[0] is rows:
            return last[1:]
        self._last = last = None  # its memory first
        flat = rows.reshape(-1, rows.shape[-1])
        largest = flat.abs().amax(dim=-1, keepdim=True)
        divisors = torch.add(_NOT_ZERO, largest, alpha=_HEADROOM / _end_of_range())
        scaled = flat.new_empty(len(flat) + 1, flat.shape[1])
        torch.div(flat, divisors, out=scaled[:-1])
        scaled[-1] = _ends_of_range(flat.shape[1])
        found = (rows, scaled, divisors)
        if keep:
            self._last = found
        return found[1:]


class QuantizedLinear(nn.Module):
    """A linear layer with 8-bit weights."""

    def __init__(self, linear: nn.Linear, rows: _Rows | None = None) -> None:
        """Quantise a layer; its own weights are left as they are.

        Args:
            linear: The layer.
            rows: Scales what it is given; the same for all layers of a model.
        """
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp(min=SMALLEST) / _LARGEST
        zeros = torch.zeros(len(scales), dtype=torch.long)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces another home for these functions
            steps = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        self._for_many = _packed(steps, _FOR_MANY_ROWS)
        is_small = weight.numel() <= SMALL_WEIGHT
        self._for_few = _packed(steps, _FOR_FEW_ROWS) if is_small else self._for_many
        self._bias = None if linear.bias is None else linear.bias.detach().float()
        self._rows = rows or _Rows()
        self.in_features = linear.in_features
        self.out_features = linear.out_features

    def forward(self, rows: Tensor) -> Tensor:
        """[..., in_features] float32 -> [..., out_features] float32."""
        if rows.numel() == 0:  # nothing to scale
            return rows.new_zeros(*rows.shape[:-1], self.out_features)
        is_few = rows.numel() <= FEW_ROWS * self.in_features
        # What is narrower than it was, nobody else is made of.
        scaled, divisors = self._rows.scaled(rows, keep=self.in_features <= self.out_features)
        product: Tensor = torch.ops.quantized.linear_dynamic(
            scaled, self._for_few if is_few else self._for_many, sums_overflow()
        )
        result = product[:-1]
        if self._bias is None:
            result.mul_(divisors)
        else:
            torch.addcmul(self._bias, result, divisors, out=result)
        return result.view(*rows.shape[:-1], self.out_features)


@functools.cache
def _end_of_range() -> float:
    """The largest number of a scaled row: from -1 on there are steps of a power of two to it, as
    many as an activation has.
    """
    return 1 - (1 / 64 if sums_overflow() else 1 / 128)


@functools.cache
def _ends_of_range(width: int) -> Tensor:
    """[width]: a row that holds both ends."""
    row = torch.zeros(width)
    row[0], row[-1] = -1.0, _end_of_range()
    return row


@functools.cache
def sums_overflow() -> bool:
    """Whether this processor adds two products of eight bits in sixteen, as those without VNNI do;
    activations must do with seven there.
    """
    row = torch.ones(1, 64)
    weight = torch.quantize_per_channel(
        torch.ones(16, 64),
        torch.full((16,), 1 / _LARGEST).double(),
        torch.zeros(16, dtype=torch.long),
        0,
        torch.qint8,
    )
    return any(
        bool((torch.ops.quantized.linear_dynamic(row, packed) < 60).any())
        for packed in (_packed(weight, engines) for engines in (_FOR_FEW_ROWS, _FOR_MANY_ROWS))
    )


def _packed(steps: Tensor, engines: Sequence[str]) -> Any:
    """A weight as the first of some engines that there is wants it."""
    supported = torch.backends.quantized.supported_engines
    usual = torch.backends.quantized.engine
    try:
        torch.backends.quantized.engine = next(each for each in engines if each in supported)
        return torch.ops.quantized.linear_prepack(steps, None)
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
    count = replace_linear_layers(model, functools.partial(QuantizedLinear, rows=_Rows()))
    if count and torch.cpu._is_avx512_bf16_supported():
        model.cache_dtype = torch.bfloat16
    return count
