"""A bucket of the key/value cache: examples side by side, in one buffer of keys and one of values a
layer.

The columns of an example's buffer are its source, then target columns, one a step and beam:

    columns     . . x1 x2 x3 | y1 of beams 0 1 2 | y2 of beams 0 1 2 | [M] of beams 0 1 2 | . . .
                sources end  |                                       | written, not kept  | free
                side by side |

Notable: the queries of all beams of an example meet its source and the targets of all its beams in
one product; `columns.py` says who may look at what. Keys and values stay where they are, whichever
beams go on from which. All columns take part in a product, so that nothing is copied to make an
operand whole.

One step of the masked style feeds two rows a beam, `[previous token, MASK]`, all tokens first, then
all masks. Both are written; the next step overwrites the masks. The causal method feeds one row a
beam and keeps it.

Letters: B examples of the bucket, N that enter together, W beams an example, Q rows a beam feeds, K
columns in all, G key/value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2s_ft.model.columns import CacheShape, Columns, Renewal
from s2s_ft.transfer import sent


class Bucket:
    """Keys and values of some of the examples that are being decoded.

    Attributes:
        shape: Beams, rows, steps.
        columns: Which columns hold what.
        device: Where everything lies.
        dtype: What keys and values are kept in, and attention computes in; None = what they come
            in.
    """

    def __init__(
        self,
        num_layers: int,
        shape: CacheShape,
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> None:
        """An empty bucket for an encoder of `num_layers` layers."""
        self.shape = shape
        self.dtype = dtype
        self.columns = Columns(shape, device)
        self.device = device
        self._keys: list[Tensor | None] = [None] * num_layers  # [rows, G, K, D] each
        self._values: list[Tensor | None] = [None] * num_layers

    @property
    def num_examples(self) -> int:
        """B, rows of the bucket, vacant ones among them."""
        return self.columns.num_examples

    def holds(self, layer: int) -> bool:
        """Whether a layer's keys and values have been written."""
        return self._keys[layer] is not None

    # -- examples that come and go -----------------------------------------------------------------

    def place(self, rows: Sequence[int], lengths: Sequence[int], *, num_kept: int) -> None:
        """Take examples in; their keys and values are written by `write_source`.

        Args:
            rows: N rows of the bucket that they take: vacant ones, or new ones at the end.
            lengths: True source tokens of each.
            num_kept: Rows of their first question that are kept: 1 for the causal method, else 0.
        """
        columns, longest = self.columns, max(lengths)
        size = max(self.num_examples, max(rows) + 1)
        if not any(columns.lengths):
            if columns.start_over(size, longest):
                self._keys = [None] * len(self._keys)
                self._values = [None] * len(self._values)
        elif longest > columns.source_size or size > columns.capacity:
            self._renew(max(size, columns.capacity), longest)
        index = self.index_of(rows)
        for buffer in (*self._keys, *self._values):
            if buffer is not None:
                buffer[index] = 0.0  # what was there may be no number, and is so even where hidden
        if num_kept and columns.next == columns.source_size:
            columns.skip(1)
        columns.lengths += [0] * (size - self.num_examples)
        for row, length in zip(rows, lengths, strict=True):
            columns.lengths[row] = length
        both = sent(torch.tensor([[*rows], [*lengths]]), self.device)
        columns.fill(both[0], both[1], num_kept)

    def vacate(self, rows: Sequence[int]) -> None:
        """Examples have been decided: their rows stay for now, and nobody needs them."""
        for row in rows:
            self.columns.lengths[row] = 0

    def keep(self, order: Sequence[int]) -> None:
        """Let the other examples leave.

        Args:
            order: Row i is from now on what row `order[i]` was. Rows move from behind into gaps;
                one that stays where it is costs nothing.
        """
        moved = [(old, new) for new, old in enumerate(order) if old != new]
        assert all(old >= len(order) for old, _ in moved), "rows move from behind into gaps"
        if moved:
            old, new = sent(torch.tensor(moved).T.contiguous(), self.device)
            for buffer in (*self._keys, *self._values):
                if buffer is not None:
                    self._move(buffer, moved, old, new)
            self.columns.move(old, new)
        self.columns.lengths = [self.columns.lengths[row] for row in order]
        is_roomy = 0 < 2 * len(order) <= self.columns.capacity
        if is_roomy and self.device.type == "cpu" and not self.shape.fixed:
            self._renew(len(order), 0)  # those who left would hold memory as long as anybody stays

    def reorder(self, parents: Tensor) -> None:
        """Beams go on from others.

        Args:
            parents: [B, W] int64 index of the beam that each new beam goes on from.
        """
        self.columns.reorder(parents)

    def _move(
        self, buffer: Tensor, moved: Sequence[tuple[int, int]], old: Tensor, new: Tensor
    ) -> None:
        """Move rows of a buffer: on a CPU each as a whole, which is one piece of memory."""
        if buffer.device.type == "cpu":
            for source, target in moved:
                buffer[target].copy_(buffer[source])
        else:
            filled = buffer[:, :, : self.columns.next]
            filled[new] = filled[old]

    # -- reading and writing -----------------------------------------------------------------------

    def write_source(
        self, layer: int, rows: Tensor | slice, key: Tensor, value: Tensor, *, num_kept: int
    ) -> None:
        """Keep the sources of examples that enter, and the first question where it is kept.

        Args:
            layer: Index of the layer.
            rows: Index of N rows that `place` was told, see `index_of`.
            key: [N, G, s + 1, D]; sources end in column s - 1, the question is column s.
            value: [N, G, s + 1, D].
            num_kept: As given to `place`.
        """
        end, size = self.columns.source_size, key.shape[2] - 1
        for buffers, new, flipped in ((self._keys, key, True), (self._values, value, False)):
            buffer = buffers[layer]
            if buffer is None:
                buffer = self._empty_buffer(new, flipped=flipped)
                buffers[layer] = buffer
            buffer[rows, :, end - size : end] = new[:, :, :size]
            if num_kept:
                buffer[rows, :, self.columns.next - 1] = new[:, :, size]

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new rows of every beam behind the kept ones, without keeping them yet.

        Args:
            layer: Index of the layer.
            key: [B, G, Q * W, D], all beams' first rows before their second ones.
            value: [B, G, Q * W, D].

        Returns:
            The keys and values of all columns, [B, G, K, D] each.
        """
        keys, values = self._keys[layer], self._values[layer]
        assert keys is not None, "the source is encoded first"
        assert values is not None
        keys, values = keys[: self.num_examples], values[: self.num_examples]
        if self.shape.fixed:
            keys.index_copy_(2, self.columns.written, key)
            values.index_copy_(2, self.columns.written, value)
        else:
            start = self.columns.next
            keys[:, :, start : start + key.shape[2]] = key
            values[:, :, start : start + value.shape[2]] = value
        return keys, values

    def advance(self, num_kept: int) -> None:
        """Keep the first `num_kept` rows of each beam that the last step wrote."""
        self.columns.advance(num_kept)
        if self.columns.is_full:
            self._renew(self.columns.capacity, 0)

    def index_of(self, rows: Sequence[int]) -> Tensor | slice:
        """Rows of the bucket as what indexes a buffer fastest."""
        if list(rows) == list(range(rows[0], rows[0] + len(rows))):
            return slice(rows[0], rows[0] + len(rows))
        return sent(torch.tensor(rows), self.device)

    # -- room --------------------------------------------------------------------------------------

    def _empty_buffer(self, like: Tensor, *, flipped: bool) -> Tensor:
        """[rows, G, K, D] zeros for keys or values like these; on a CPU float32 keys lie in memory
        as the products want them, [rows, G, D, K].
        """
        rows, groups, width = self.columns.capacity, like.shape[1], self.columns.width
        if flipped and like.device.type == "cpu" and like.dtype == torch.float32:
            return like.new_zeros(rows, groups, like.shape[3], width).transpose(2, 3)
        return like.new_zeros(rows, groups, width, like.shape[3])

    def _renew(self, capacity: int, longest: int) -> None:
        """Lay the buffers out anew (see `Columns.renew`)."""
        renewal = self.columns.renew(capacity, longest)
        for buffers, flipped in ((self._keys, True), (self._values, False)):
            for layer, old in enumerate(buffers):
                if old is not None:
                    new = self._empty_buffer(old, flipped=flipped)
                    _copy(old, new, renewal)
                    buffers[layer] = new


def _copy(old: Tensor, new: Tensor, renewal: Renewal) -> None:
    """What stays of a buffer [rows, G, K, D], in its new columns."""
    examples, groups, size = len(renewal.target_from), old.shape[1], old.shape[3]
    new[:examples, :, renewal.source_to] = old[:examples, :, renewal.source_from]
    index = renewal.target_from[:, None, :, None].expand(-1, groups, -1, size)
    new[:examples, :, renewal.target_to] = old[:examples].gather(2, index)
