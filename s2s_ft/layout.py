"""What a method hands to the model: corrupted examples, laid out as one rectangle of token ids.

A batch has up to three blocks, each as wide as its longest member and padded at its end:

    | source (S columns) | target (T columns) | pseudo (T columns, pseudo_mask only) |

Letters: B batch, S source, T target, L row length, N supervised rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
        supervised: [N] int64, rows that are read, as `example * L + column`.
        labels: [N] int64 token each supervised row must predict.
    """

    ids: Tensor
    positions: Tensor
    source_lengths: Tensor
    target_lengths: Tensor
    source_size: int
    target_size: int
    supervised: Tensor
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
        blocks = 2 if self.has_pseudo else 1
        return int(self.source_lengths.sum() + blocks * self.target_lengths.sum())

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on `device`."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return replace(
            self,
            ids=moved(self.ids),
            positions=moved(self.positions),
            source_lengths=moved(self.source_lengths),
            target_lengths=moved(self.target_lengths),
            supervised=moved(self.supervised),
            labels=moved(self.labels),
        )


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
    supervised = []
    for row, example in enumerate(examples):
        n, m = len(example.source), len(example.target)
        ids[row, :n] = example.source
        positions[row, :n] = np.arange(n)
        for block, tokens in enumerate((example.target, example.pseudo)[:num_target_blocks]):
            start = source_size + block * target_size
            ids[row, start : start + m] = tokens
            positions[row, start : start + m] = np.arange(n, n + m)
        supervised.append(row * length + first_read + example.read)
    return Batch(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        source_lengths=torch.tensor([len(example.source) for example in examples]),
        target_lengths=torch.tensor([len(example.target) for example in examples]),
        source_size=source_size,
        target_size=target_size,
        supervised=torch.from_numpy(np.concatenate(supervised)),
        labels=torch.from_numpy(np.concatenate([example.labels for example in examples])),
    )
