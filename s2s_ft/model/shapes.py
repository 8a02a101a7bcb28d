"""To what the sizes of products are rounded up in training, so that few of them differ.

    packed rows   a1 a2 b1 b2 b3 | A1 B1 B2  -  -      C true ones, then some that nobody reads
    rows read     A1 B1 B2  -                          N true ones, then that of the first extra row

Notable: oneDNN compiles a kernel for each shape of a product, and each batch has shapes of its own.
That takes a fortieth of an update where products are made of vectors. Where they are made of tiles
(AMX) it is one to ten milliseconds a shape, a fifth of an update, and padding is the cheaper way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from s2s_ft.layout import Batch
from s2s_ft.model.precision import has_amx


@dataclass(frozen=True)
class Steps:
    """What sizes are multiples of.

    Attributes:
        rows: Packed rows, which linear layers see.
        read_rows: Rows that the head sees.
        columns: Of each block in attention's rectangle, where one holds a whole batch.
    """

    rows: int
    read_rows: int
    columns: int


FINE = Steps(rows=1, read_rows=1, columns=1)

COARSE = Steps(rows=64, read_rows=32, columns=16)
"""A tile has sixteen rows, and 32 numbers of bfloat16 in each; so many are multiplied anyway."""


def rounded(size: int, step: int) -> int:
    """Up to a multiple."""
    return -(-size // step) * step


def steps_on(device: torch.device) -> Steps:
    """What pays in a pass that begins now, under autocast or not."""
    if device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return FINE
    makes_tiles = torch.get_autocast_dtype("cpu") is torch.bfloat16 and has_amx()
    return COARSE if makes_tiles else FINE


def rounded_rows(batch: Batch, steps: Steps) -> tuple[Tensor, Tensor]:
    """`cells` and `read_rows` of a batch with some that nobody reads behind them.

    Args:
        batch: As it was laid out.
        steps: Whether and how far to round up.

    Returns:
        [C'] and [N'] int64. The extra rows repeat the first true token, so that they are rows like
        any other; no gradient comes back from them.
    """
    if steps is FINE:  # on a GPU a copy of each would be two operations of every update
        return batch.cells, batch.read_rows
    true, read = batch.num_tokens, batch.num_supervised
    missing = rounded(read, steps.read_rows) - read
    needed = true + min(missing, 1)  # a row that they can point at
    extra = rounded(needed, steps.rows) - true
    cells = torch.cat([batch.cells, batch.cells[:1].expand(extra)])
    return cells, torch.cat([batch.read_rows, batch.read_rows.new_full((missing,), true)])
