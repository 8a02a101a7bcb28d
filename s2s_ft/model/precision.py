"""Fast float32 products on a CPU, where they keep float32 accuracy.

Notable: torch sends float32 products to MKL, which takes its slower path on processors of other
makers. The setting "medium" sends them to oneDNN: with AVX-512 twice as fast there and just as
accurate. On processors with AMX the same setting would really multiply in bfloat16; hence the look
at the processor and the check of a product.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch

MAX_RELATIVE_ERROR = 1e-5
"""Largest error of a product, relative to its largest entry, that counts as float32."""


def fast_float32_matmul() -> str:
    """Choose the fastest setting of float32 products that is still float32.

    Returns:
        The setting left in force, "medium" or "highest".
    """
    torch.set_float32_matmul_precision("medium")
    if not has_amx() and _relative_error_of_products() < MAX_RELATIVE_ERROR:
        return "medium"
    torch.set_float32_matmul_precision("highest")
    return "highest"


@functools.cache
def has_amx() -> bool:
    """Whether the processor multiplies bfloat16 tiles; not where that is unknown."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def _relative_error_of_products() -> float:
    """Largest error of two products of a model's shapes, relative to their largest entry."""
    generator = torch.Generator().manual_seed(0)
    error = 0.0
    for rows, inner, columns in ((64, 384, 256), (256, 1536, 384)):
        left = torch.randn(rows, inner, generator=generator)
        right = torch.randn(columns, inner, generator=generator)
        exact = left.double() @ right.double().T
        found = torch.nn.functional.linear(left, right).double()
        error = max(error, float((found - exact).abs().max() / exact.abs().max()))
    return error
