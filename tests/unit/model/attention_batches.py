"""Small uneven batches, rows for their attention, and what has to hold of both written-out ways."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from s2s_ft.layout import Batch, Corrupted, lay_out
from s2s_ft.model.attention import AttentionCall
from s2s_ft.model.full_pass import FullPass

Sizes = tuple[tuple[int, int], ...]

SHORT: Sizes = ((7, 3), (4, 5), (9, 1), (7, 5))


def batch(num_target_blocks: int, sizes: Sizes = SHORT) -> Batch:
    """Examples with so many source and target tokens."""
    random = np.random.default_rng(0)
    examples = []
    for n, m in sizes:
        ids = random.integers(5, 40, size=n + 2 * m)
        pseudo = ids[n + m :] if num_target_blocks == 2 else ids[:0]
        examples.append(Corrupted(ids[:n], ids[n : n + m], pseudo, np.arange(m), np.full(m, 7)))
    return lay_out(examples, 0, num_target_blocks)


def rows_of(
    laid: Batch, dtype: torch.dtype, *, heads: int, size: int, kv_heads: int | None = None
) -> list[Tensor]:
    """Query, key and value, [1, heads, C, size]."""
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(1, laid.num_tokens, each, size, generator=generator)
        .to(dtype)
        .transpose(1, 2)
        .requires_grad_()
        for each in (heads, kv_heads or heads, kv_heads or heads)
    ]


def outcome(plan: FullPass, inputs: list[Tensor], call: AttentionCall, way: str) -> list[Tensor]:
    """Result and gradients of one way; nobody reads the source rows of a narrowed layer."""
    result = getattr(plan, way)(0, *inputs, call)
    pull = torch.randn(result.shape, generator=torch.Generator().manual_seed(2)).to(result.dtype)
    if plan.narrowed_layer == 0:
        pull[:, :, : plan._batch.num_source_tokens] = 0.0
    return [result, *torch.autograd.grad(result, inputs, pull)]


def assert_no_number_spreads(dtype: torch.dtype, dropout: float) -> None:
    """NaN in all rows of an example, and in its gradient, stays with it."""
    laid = batch(2)
    inputs = rows_of(laid, dtype, heads=3, size=8)
    own = laid.cells // laid.ids.shape[1] == 2
    with torch.no_grad():
        for each in inputs:
            each[:, :, own] = torch.nan
    result = FullPass(laid).attend(0, *inputs, AttentionCall(0.3, dropout, None))
    pull = torch.ones_like(result)
    pull[:, :, own] = torch.nan
    for each in (result, *torch.autograd.grad(result, inputs, pull)):
        assert each[:, :, own].isnan().all()
        assert each[:, :, ~own].isfinite().all()
