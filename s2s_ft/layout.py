"""What a method hands to the model: corrupted examples, laid out as one rectangle of token ids.

A batch has up to three blocks, each as wide as its longest member and padded at its end:

    | source (S columns) | target (T columns) | pseudo (T columns, pseudo_mask only) |

Notable: the rectangle says where a token stands and who sees whom. What goes through the encoder is
its true tokens alone, side by side in one row without any padding: first every source, then every
target, then every pseudo block.

    rectangle   a1 a2 a3 | A1 A2        packed   a1 a2 a3 b1 b2 | A1 A2 B1
                b1 b2  . | B1  .        (`cells` says which cells of the rectangle these are)

Letters: B batch, S source, T target, L row length, C true tokens, N supervised rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from s2s_ft.transfer import sent

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Corrupted:
    """One example, corrupted and framed by its special tokens; every array is int64 and
    one-dimensional.

    Attributes:
        source: Source ids, special tokens included.
        target: Input ids of the target block.
        pseudo: Input ids of the pseudo block, as long as `target`, or empty where the method has
            none.
        read: Rows, counted inside the block that is read, whose prediction is supervised.
        labels: The token each of those rows must predict, as long as `read`.
    """

    source: IntArray
    target: IntArray
    pseudo: IntArray
    read: IntArray
    labels: IntArray


@dataclass(frozen=True)
class Batch:
    """Examples laid out as one rectangle of blocks (drawn at the top of this file).

    Attributes:
        ids: [B, L] int64 token ids, padding id at the end of each block.
        positions: [B, L] int64, 0-based; the target goes on after the true source, a pseudo token
            has its target's.
        source_lengths: [B] int64 true tokens of the source block.
        target_lengths: [B] int64 true tokens of the target block.
        source_size: Columns of the source block.
        target_size: Columns of the target block, and of the pseudo block where there is one.
        cells: [C] int64 true tokens in packed order, as `example * L + column`.
        num_source_tokens: True tokens of all sources, the first of the packed ones.
        supervised: [N] int64, rows that are read, as `example * L + column`.
        read_rows: [N] int64, the same rows by their place among the packed tokens.
        labels: [N] int64 token each supervised row must predict.
    """

    ids: Tensor
    positions: Tensor
    source_lengths: Tensor
    target_lengths: Tensor
    source_size: int
    target_size: int
    cells: Tensor
    num_source_tokens: int
    supervised: Tensor
    read_rows: Tensor
    labels: Tensor

    @property
    def has_pseudo(self) -> bool:
        """Whether the rectangle ends in a pseudo block."""
        return self.ids.shape[1] > self.source_size + self.target_size

    @property
    def num_examples(self) -> int:
        """Examples in the batch."""
        return self.ids.shape[0]

    @property
    def num_supervised(self) -> int:
        """Supervised rows, the unit the loss is averaged over."""
        return self.labels.shape[0]

    @property
    def num_tokens(self) -> int:
        """True tokens, padding left out, pseudo tokens counted."""
        return self.cells.shape[0]

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on `device`; to a GPU they go without a wait."""
        tensors: dict[str, Any] = {
            field.name: sent(value, device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)


def lay_out(examples: Sequence[Corrupted], pad: int, num_target_blocks: int) -> Batch:
    """Lay examples out as one rectangle of blocks.

    Args:
        examples: Non-empty, all of one method.
        pad: Padding id.
        num_target_blocks: 2 where a pseudo block follows the target and is the one that is read,
            else 1.
    """
    source_size = max(len(example.source) for example in examples)
    target_size = max(len(example.target) for example in examples)
    length = source_size + num_target_blocks * target_size
    first_read = length - target_size  # the last block is the one that is read
    ids = np.full((len(examples), length), pad, dtype=np.int64)
    positions = np.zeros((len(examples), length), dtype=np.int64)
    real = np.zeros((len(examples), length), dtype=np.bool_)
    supervised = []
    for row, example in enumerate(examples):
        n, m = len(example.source), len(example.target)
        ids[row, :n] = example.source
        positions[row, :n] = np.arange(n)
        real[row, :n] = True
        for block, tokens in enumerate((example.target, example.pseudo)[:num_target_blocks]):
            start = source_size + block * target_size
            ids[row, start : start + m] = tokens
            positions[row, start : start + m] = np.arange(n, n + m)
            real[row, start : start + m] = True
        supervised.append(row * length + first_read + example.read)
    read = np.concatenate(supervised)
    cells, place = _packed(real, [source_size, *[target_size] * num_target_blocks])
    return Batch(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        source_lengths=torch.tensor([len(example.source) for example in examples]),
        target_lengths=torch.tensor([len(example.target) for example in examples]),
        source_size=source_size,
        target_size=target_size,
        cells=torch.from_numpy(cells),
        num_source_tokens=sum(len(example.source) for example in examples),
        supervised=torch.from_numpy(read),
        read_rows=torch.from_numpy(place[read]),
        labels=torch.from_numpy(np.concatenate([example.labels for example in examples])),
    )


def _packed(real: npt.NDArray[np.bool_], block_sizes: Sequence[int]) -> tuple[IntArray, IntArray]:
    """The true cells of a rectangle, block by block, and each cell's place among them.

    Args:
        real: [B, L], where there is a token.
        block_sizes: Columns of each block, L in all.

    Returns:
        [C] int64 cells, and [B * L] int64 places, 0 where there is no token.
    """
    length = real.shape[1]
    parts = []
    start = 0
    for size in block_sizes:
        rows, columns = np.nonzero(real[:, start : start + size])
        parts.append(rows * length + start + columns)
        start += size
    cells = np.concatenate(parts)
    place = np.zeros(real.size, dtype=np.int64)
    place[cells] = np.arange(len(cells))
    return cells, place
