"""Random numbers that depend on what they are for and on nothing else: counters in, uniform numbers
out, by the mixing function of SplitMix64 (Steele et al. 2014). There is no state, so neither the
batch, nor its order, nor the device can change them.

Notable: torch has no unsigned 64-bit integers to compute with; signed ones wrap around just the
same, and only the shift to the right needs its upper bits cleared.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BITS = 0xFFFFFFFFFFFFFFFF


def stream(seed: int, key: int) -> int:
    """The stream of one request.

    Args:
        seed: Of the run.
        key: Of the request.

    Returns:
        A signed 64-bit integer.
    """
    return _signed(_mixed_number(_mixed_number(seed + _GOLDEN) + (key + 1) * _GOLDEN))


def uniforms(streams: Tensor, samples: Tensor, steps: Tensor) -> Tensor:
    """Numbers from a uniform distribution.

    Args:
        streams: int64, one per request (see `stream`).
        samples: int64 which sample of the request, from 0; broadcast against the streams.
        steps: int64 which token of the sample, from 0; likewise.

    Returns:
        float64 in [0, 1), of the common shape; multiples of 2^-53.
    """
    golden = _signed(_GOLDEN)
    bits = _mixed(_mixed(streams + (samples + 1) * golden) + (steps + 1) * golden)
    return _shifted(bits, 11).to(torch.float64) * 2.0**-53


def _mixed(x: Tensor) -> Tensor:
    """SplitMix64's function, every bit of x bearing on every bit of the result."""
    x = (x ^ _shifted(x, 30)) * _signed(_FIRST)
    x = (x ^ _shifted(x, 27)) * _signed(_SECOND)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, count: int) -> Tensor:
    """A logical shift to the right."""
    return (x >> count) & ((1 << (64 - count)) - 1)


def _mixed_number(x: int) -> int:
    x &= _BITS
    x = ((x ^ (x >> 30)) * _FIRST) & _BITS
    x = ((x ^ (x >> 27)) * _SECOND) & _BITS
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    """The signed number with the same 64 bits."""
    return x - (1 << 64) if x >> 63 else x
