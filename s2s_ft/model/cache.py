"""The two-part key/value cache of decoding, and the attention plans that fill and read it.

Notable: the source's keys and values are stored once per example and never copied per beam: the
queries of all beams of an example meet them in one product. Each beam's own target keys and values
lie in a preallocated buffer, are written in place and re-ordered by index.

One decoding step of the masked style feeds two rows a beam, `[previous token, MASK]`; both are
written behind the filled part of the buffer, and `advance(1)` keeps only the first (columns:
buffer; x = may look):

                 y1 y2 | y3 [M]
        y3        x  x |  x  .
        [M]       x  x |  x  x        the next token is read here; the next step overwrites it

The causal method feeds `[previous token]` alone and keeps it.

Letters: B examples, W beams an example, Q rows a beam feeds, S source, C capacity of the target
buffer, t filled columns of it, H heads, G key/value heads, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from s2s_ft.model.attention import (
    AttentionCall,
    AttentionPlan,
    attention,
    shared_heads,
)
from s2s_ft.model.pattern import distance_bias
from s2s_ft.model.positions import RelativePositionBias


class KeyValueCache:
    """Keys and values of the sources and of every beam's target.

    Attributes:
        source_lengths: [B] int64 true source tokens.
        num_beams: W, beams per example; 1 before the first `reorder`.
        length: t, target tokens kept so far.
    """

    def __init__(
        self, num_layers: int, source_lengths: Tensor, source_size: int, capacity: int
    ) -> None:
        """An empty cache.

        Args:
            num_layers: Layers of the encoder.
            source_lengths: [B] int64 true source tokens.
            source_size: S, columns of the source block.
            capacity: C, target rows to make room for.
        """
        self.source_lengths = source_lengths
        self.num_beams = 1
        self.length = 0
        self._capacity = capacity
        column = torch.arange(source_size, device=source_lengths.device)
        self.source_real = column[None, :] < source_lengths[:, None]  # [B, S]
        self.source_positions = torch.where(self.source_real, column[None, :], 0)  # [B, S]
        self._source: list[tuple[Tensor, Tensor] | None] = [None] * num_layers  # [B, G, S, D] each
        self._target: list[tuple[Tensor, Tensor] | None] = [
            None
        ] * num_layers  # [B * W, G, C, D] each

    @property
    def num_examples(self) -> int:
        """B, examples still in the batch."""
        return self.source_lengths.shape[0]

    def store_source(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Keep a layer's source keys and values, [B, G, S, D] each."""
        self._source[layer] = (key, value)

    def source(self, layer: int) -> tuple[Tensor, Tensor]:
        """A layer's source keys and values, [B, G, S, D] each."""
        stored = self._source[layer]
        assert stored is not None, "the source is encoded first"
        return stored

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write new rows behind the kept ones, without keeping them yet.

        Args:
            layer: Index of the layer.
            key: [B * W, G, Q, D].
            value: [B * W, G, Q, D].

        Returns:
            Views of the keys and values up to and with the new rows, [B * W, G, t + Q, D] each.
        """
        buffers = self._target[layer]
        if buffers is None:
            rows, heads, _, size = key.shape
            buffers = (
                key.new_empty(rows, heads, self._capacity, size),
                value.new_empty(rows, heads, self._capacity, size),
            )
            self._target[layer] = buffers
        end = self.length + key.shape[2]
        assert end <= self._capacity, "the buffer holds the longest target and its question"
        buffers[0][:, :, self.length : end] = key
        buffers[1][:, :, self.length : end] = value
        return buffers[0][:, :, :end], buffers[1][:, :, :end]

    def advance(self, rows: int) -> None:
        """Keep the first `rows` of what the last step wrote."""
        self.length += rows

    def reorder(self, parents: Tensor) -> None:
        """Give each new beam the target of the beam it goes on from; the source part is not
        touched.

        Args:
            parents: [B, W'] int64, index of the old beam; W' may differ from W.
        """
        first = torch.arange(self.num_examples, device=parents.device)[:, None] * self.num_beams
        index = (first + parents).reshape(-1)
        same_size = parents.shape[1] == self.num_beams
        self.num_beams = parents.shape[1]
        for layer, buffers in enumerate(self._target):
            if buffers is None:
                continue
            self._target[layer] = (
                self._picked(buffers[0], index, in_place=same_size),
                self._picked(buffers[1], index, in_place=same_size),
            )

    def _picked(self, buffer: Tensor, index: Tensor, *, in_place: bool) -> Tensor:
        """Rows of a buffer in another order; only its filled part is moved."""
        filled = buffer[:, :, : self.length].index_select(0, index)
        if not in_place:
            buffer = buffer.new_empty(index.shape[0], *buffer.shape[1:])
        buffer[:, :, : self.length] = filled
        return buffer

    def keep(self, examples: Tensor) -> None:
        """Let the other examples leave the batch.

        Args:
            examples: [B'] int64 indices of those that stay, ascending.
        """
        beams = torch.arange(self.num_beams, device=examples.device)
        rows = (examples[:, None] * self.num_beams + beams).reshape(-1)
        self.source_lengths = self.source_lengths[examples]
        self.source_real = self.source_real[examples]
        self.source_positions = self.source_positions[examples]
        self._source = [pair and (pair[0][examples], pair[1][examples]) for pair in self._source]
        self._target = [pair and (pair[0][rows], pair[1][rows]) for pair in self._target]


class EncodePass(AttentionPlan):
    """Runs the sources through the encoder and keeps their keys and values."""

    def __init__(
        self, cache: KeyValueCache, relative: RelativePositionBias | None, *, left_to_right: bool
    ) -> None:
        """Take the empty cache to fill; `left_to_right` hides later source tokens."""
        self._cache = cache
        self._relative = relative
        allowed = cache.source_real[:, None, :]  # [B, 1, S]
        if left_to_right:
            size = cache.source_real.shape[1]
            lower = torch.ones(size, size, dtype=torch.bool, device=allowed.device).tril()
            allowed = allowed & lower
        self._allowed = allowed
        self._biases: dict[int | None, Tensor] = {}
        self.read_rows = torch.zeros(1, dtype=torch.long, device=allowed.device)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """Source over source; the layer's keys and values go into the cache."""
        self._cache.store_source(layer, key, value)
        if layer == self.narrowed_layer:  # nobody reads what the source would say
            return torch.zeros_like(query)
        if call.window not in self._biases:
            positions = self._cache.source_positions
            self._biases[call.window] = distance_bias(
                self._allowed, positions, positions, self._relative, call.window
            )
        return attention(query, key, value, self._biases[call.window], call)


class StepPass(AttentionPlan):
    """One decoding step: the new rows of every beam over its example's source and its own
    target.
    """

    def __init__(
        self, cache: KeyValueCache, relative: RelativePositionBias | None, num_rows: int
    ) -> None:
        """Take the filled cache, and Q, the rows that each beam feeds."""
        self._cache = cache
        self._relative = relative
        self._num_rows = num_rows
        device = cache.source_lengths.device
        column = torch.arange(cache.length + num_rows, device=device)
        self._offsets = column[cache.length :]  # [Q] target positions of the new rows, from 0
        self._columns = column
        self.positions = cache.source_lengths[:, None] + self._offsets  # [B, Q]
        self._biases: dict[int | None, tuple[Tensor, Tensor]] = {}

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """Source scores of all beams in one product, target scores per beam, one softmax over both.

        Args:
            layer: Index of the layer.
            query: [B, H, W * Q, D], the rows of a beam side by side.
            key: [B, G, W * Q, D].
            value: [B, G, W * Q, D].
            call: Scaling and window.

        Returns:
            [B, H, W * Q, D].
        """
        heads = query.shape[1]
        query = query * call.scaling
        source_key, source_value = (shared_heads(part, heads) for part in self._cache.source(layer))
        target_key, target_value = (
            shared_heads(part, heads)
            for part in self._cache.write(layer, self._per_beam(key), self._per_beam(value))
        )
        source_bias, target_bias = self._bias(call.window)
        source_scores = torch.matmul(query, source_key.transpose(-1, -2)) + source_bias
        target_scores = (
            torch.matmul(self._per_beam(query), target_key.transpose(-1, -2)) + target_bias
        )
        scores = torch.cat([self._per_beam(source_scores), target_scores], dim=-1)
        weights = scores.float().softmax(dim=-1).to(value.dtype)
        split = source_scores.shape[-1]
        from_source = torch.matmul(self._per_example(weights[..., :split]), source_value)
        return from_source + self._per_example(torch.matmul(weights[..., split:], target_value))

    def _per_beam(self, rows: Tensor) -> Tensor:
        """[B, H, W * Q, X] -> [B * W, H, Q, X]."""
        examples, heads, _, size = rows.shape
        split = rows.reshape(examples, heads, self._cache.num_beams, self._num_rows, size)
        return split.transpose(1, 2).reshape(-1, heads, self._num_rows, size)

    def _per_example(self, rows: Tensor) -> Tensor:
        """[B * W, H, Q, X] -> [B, H, W * Q, X]."""
        _, heads, num_rows, size = rows.shape
        beams = self._cache.num_beams
        joined = rows.reshape(-1, beams, heads, num_rows, size).transpose(1, 2)
        return joined.reshape(-1, heads, beams * num_rows, size)

    def _bias(self, window: int | None) -> tuple[Tensor, Tensor]:
        """Biases over the source, [B, 1|H, W * Q, S], and over the target, [1, 1|H, Q, t + Q]."""
        if window not in self._biases:
            cache = self._cache
            beams = self.positions.repeat(1, cache.num_beams)  # [B, W * Q]
            source = distance_bias(
                cache.source_real[:, None, :].expand(-1, beams.shape[1], -1),
                beams,
                cache.source_positions,
                self._relative,
                window,
            )
            behind = (self._columns[None, :] <= self._offsets[:, None])[None]
            target = distance_bias(
                behind, self._offsets[None], self._columns[None], self._relative, window
            )
            self._biases[window] = (source, target)
        return self._biases[window]
