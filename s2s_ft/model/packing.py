"""Between packed rows, which the encoder sees, and the rectangle, in which attention looks around.

    packed      a1 a2 a3 b1 b2 | A1 A2 B1           [1, H, C, D]
    rectangle   a1 a2 a3 | A1 A2                    [B, H, L, D]
                b1 b2  . | B1  .

Notable: both ways are one copy, of whole rows where autograd takes part, so that a GPU moves long
pieces of memory; the attention kernels of GPUs take heads that lie side by side. Without autograd
the same copy puts the heads in front of the rows, the order that batched products of a CPU need.
What stands in the cells of padding is some true row: the pattern lets nobody look there, and no
gradient comes back.

Letters: B batch, H heads, L row length, C true tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class PackedRows:
    """The true cells of one rectangle."""

    def __init__(self, shape: Sequence[int], cells: Tensor, places: Tensor | None = None) -> None:
        """Note which row stands in each cell.

        Args:
            shape: B and L.
            cells: [C] int64 the true cells of the flattened [B * L], in the order of the rows.
            places: [B, L] int64 the row in each cell, for padding, too; None = the first row there.
        """
        self._shape = shape
        self._cells = cells
        if places is None:
            places = cells.new_zeros(shape[0] * shape[1])
            places[cells] = torch.arange(cells.shape[0], device=cells.device)
        self._places = places.reshape(-1)
        self._by_heads: dict[int, tuple[Tensor, Tensor]] = {}

    def spread(self, packed: Tensor) -> Tensor:
        """[1, H, C, D] -> [B, H, L, D], stored row by row with the heads side by side."""
        _, heads, _, size = packed.shape
        rows = packed.transpose(1, 2).reshape(-1, heads * size)
        spread: Tensor = _Spread.apply(  # type: ignore[no-untyped-call]
            rows, self._places, self._cells
        )
        return spread.view(*self._shape, heads, size).transpose(1, 2)

    def gather(self, rectangle: Tensor) -> Tensor:
        """[B, H, L, D] -> [1, H, C, D], stored row by row with the heads side by side."""
        _, heads, _, size = rectangle.shape
        rows: Tensor = _Gather.apply(  # type: ignore[no-untyped-call]
            rectangle.transpose(1, 2).reshape(-1, heads * size), self._cells
        )
        return rows.view(1, -1, heads, size).transpose(1, 2)

    def flat(self, packed: Tensor) -> Tensor:
        """[1, H, C, D] -> [B * H, L, D], without a gradient."""
        places, _ = self._indices(packed.shape[1])
        rows = packed.transpose(1, 2).reshape(-1, packed.shape[3])
        return rows.index_select(0, places).view(-1, self._shape[1], packed.shape[3])

    def unflat(self, rectangle: Tensor, heads: int) -> Tensor:
        """[B * H, L, D] -> [C * H, D], the heads of a row side by side, without a gradient."""
        _, cells = self._indices(heads)
        return rectangle.reshape(-1, rectangle.shape[2]).index_select(0, cells)

    def _indices(self, heads: int) -> tuple[Tensor, Tensor]:
        """For rows of one head: [B * H * L] where each cell's row is, and [C * H] its inverse."""
        if heads not in self._by_heads:
            examples, length = self._shape
            head = torch.arange(heads, device=self._cells.device)
            places = self._places.view(examples, 1, length) * heads + head[None, :, None]
            example, column = self._cells // length, self._cells % length
            cells = (example[:, None] * heads + head) * length + column[:, None]
            self._by_heads[heads] = (places.reshape(-1), cells.reshape(-1))
        return self._by_heads[heads]


class _Spread(torch.autograd.Function):
    """Copies rows to their cells; only true cells give gradient back, each to one row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, cells: Tensor) -> Tensor:
        """See `PackedRows.spread`."""
        ctx.save_for_backward(cells)
        return rows.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The true cells of the gradient."""
        (cells,) = ctx.saved_tensors
        return gradient.index_select(0, cells), None, None


class _Gather(torch.autograd.Function):
    """Copies the true cells; those of padding get a gradient of zero."""

    @staticmethod
    def forward(ctx: Any, cells_of_rectangle: Tensor, cells: Tensor) -> Tensor:
        """See `PackedRows.gather`."""
        ctx.save_for_backward(cells)
        ctx.size = cells_of_rectangle.shape[0]
        return cells_of_rectangle.index_select(0, cells)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient in its cells, zero elsewhere."""
        (cells,) = ctx.saved_tensors
        spread = gradient.new_zeros(ctx.size, gradient.shape[1])
        return spread.index_copy_(0, cells, gradient), None
