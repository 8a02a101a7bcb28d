"""Packed rows and the rectangle: both ways, their gradients, and that padding weighs nothing."""

from __future__ import annotations

import numpy as np
import torch

from s2s_ft.layout import Batch, Corrupted, lay_out
from s2s_ft.model.packing import PackedRows

LENGTHS = [(3, 2), (1, 4), (5, 1)]
HEADS, SIZE = 2, 4


def batch(num_target_blocks: int = 2) -> Batch:
    examples = [
        Corrupted(
            source=np.arange(10, 10 + n),
            target=np.arange(30, 30 + m),
            pseudo=np.arange(50, 50 + m) if num_target_blocks == 2 else np.arange(0),
            read=np.arange(m),
            labels=np.arange(m),
        )
        for n, m in LENGTHS
    ]
    return lay_out(examples, 0, num_target_blocks)


def test_packed_order_is_block_by_block() -> None:
    laid = batch()
    packed = laid.ids.view(-1)[laid.cells].tolist()
    blocks = [
        [start + i for n, m in LENGTHS for i in range(n if start == 10 else m)]
        for start in (10, 30, 50)
    ]
    assert packed == [token for block in blocks for token in block]
    assert laid.num_source_tokens == 9
    assert laid.num_tokens == 9 + 7 + 7


def test_read_rows_are_the_supervised_cells() -> None:
    for blocks in (1, 2):
        laid = batch(blocks)
        assert laid.cells[laid.read_rows].tolist() == laid.supervised.tolist()


def rows_of(laid: Batch) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (1, HEADS, laid.num_tokens, SIZE)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_spread_puts_every_row_into_its_cell() -> None:
    laid = batch()
    packed, packing = rows_of(laid), PackedRows(laid.ids.shape, laid.cells)
    spread = packing.spread(packed)
    assert spread.shape == (3, HEADS, laid.ids.shape[1], SIZE)
    for place, cell in enumerate(laid.cells.tolist()):
        example, column = divmod(cell, laid.ids.shape[1])
        assert torch.equal(spread[example, :, column], packed[0, :, place])
    assert torch.equal(packing.gather(spread), packed)
    assert torch.equal(packing.flat(packed).view_as(spread), spread)
    back = packing.unflat(packing.flat(packed), HEADS)
    assert torch.equal(back.view(-1, HEADS, SIZE).transpose(0, 1)[None], packed)


def test_gradients_are_those_of_copies() -> None:
    laid = batch()
    packing = PackedRows(laid.ids.shape, laid.cells)
    packed = rows_of(laid).requires_grad_()
    weight = torch.randn(3, HEADS, laid.ids.shape[1], SIZE, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda rows: packing.gather(packing.spread(rows) * weight), packed
    )
