"""The attention plans that are written out as ONNX graphs.

Notable: they do what decoding's own cache does, but as pure functions of their inputs. Nothing is
written in place and nothing outlives a call: what a step has to remember goes out of the graph as a
tensor and comes back in at the next one. No shape is a constant, so the graphs serve any batch,
number of beams and length.

Letters: B examples, W beams an example, Q rows a beam feeds, S source, T target tokens so far,
H heads, G key/value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2s_ft.model.attention import AttentionCall, AttentionPlan, attention, shared_heads
from s2s_ft.model.pattern import distance_bias
from s2s_ft.model.positions import RelativePositionBias

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one layer."""


class EncodePlan(AttentionPlan):
    """The source over itself; each layer's keys and values are what the graph gives.

    Attributes:
        kept: Of every layer, in order, [B, G, S, D] each.
        positions: [B, S] int64, 0 at padding.
    """

    def __init__(
        self, lengths: Tensor, size: int, relative: RelativePositionBias | None, last_layer: int
    ) -> None:
        """Take the true lengths [B] int64, S, and the index of the last layer."""
        self.kept: list[KeyValue] = []
        self.real, self.positions = real_positions(lengths, size)
        self._relative = relative
        self._last_layer = last_layer
        self._biases: dict[int | None, Tensor] = {}

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """Of the last layer only keys and values are wanted."""
        self.kept.append((key, value))
        if layer == self._last_layer:
            return torch.zeros_like(query)
        if call.window not in self._biases:
            self._biases[call.window] = distance_bias(
                self.real[:, None, :], self.positions, self.positions, self._relative, call.window
            )
        return attention(query, key, value, self._biases[call.window], call)


class StepPlan(AttentionPlan):
    """The rows that every beam feeds, over its example's source and its own target.

    Attributes:
        kept: Keys and values of the target, of every layer, the new rows that stay included:
            [B, W, G, T', D] each.
        positions: [B, Q] int64 of the new rows.
    """

    def __init__(
        self,
        source: Sequence[KeyValue],
        target: Sequence[KeyValue],
        lengths: Tensor,
        num_rows: int,
        num_unkept: int,
        relative: RelativePositionBias | None,
    ) -> None:
        """Take what earlier calls kept.

        Args:
            source: Of every layer, [B, G, S, D] each.
            target: Of every layer, [B, W, G, T, D] each, already those that the beams go on from.
            lengths: [B] int64 true source tokens.
            num_rows: Q.
            num_unkept: Rows at the end of them that leave nothing behind.
            relative: UniLMv2's bias, or None.
        """
        self.kept: list[KeyValue] = []
        self._source, self._target = source, target
        self._relative = relative
        self._num_rows, self._num_unkept = num_rows, num_unkept
        self._beams = target[0][0].shape[1]
        held = target[0][0].shape[3]
        self._columns = torch.arange(held + num_rows, device=lengths.device)
        self._offsets = self._columns[held:]
        self.positions = lengths[:, None] + self._offsets
        self._real, self._source_positions = real_positions(lengths, source[0][0].shape[2])
        self._biases: dict[int | None, tuple[Tensor, Tensor]] = {}

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """One softmax over source and target.

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
        target_key, target_value = self._with_new_rows(layer, key, value)
        source_key, source_value = (shared_heads(part, heads) for part in self._source[layer])
        source_bias, target_bias = self._bias(call.window)
        query = query * call.scaling
        on_source = torch.matmul(query, source_key.transpose(-1, -2)) + source_bias
        on_target = torch.matmul(
            self._per_beam(query), shared_heads(target_key, heads, dim=2).transpose(-1, -2)
        )
        scores = torch.cat([self._per_beam(on_source), on_target + target_bias], dim=-1)
        weights = scores.softmax(dim=-1)
        size = source_key.shape[2]
        from_source = torch.matmul(self._per_example(weights[..., :size]), source_value)
        from_target = torch.matmul(weights[..., size:], shared_heads(target_value, heads, dim=2))
        return from_source + self._per_example(from_target)

    def _with_new_rows(self, layer: int, key: Tensor, value: Tensor) -> KeyValue:
        """[B, W, G, T + Q, D] keys and values to look at; those that stay are noted."""
        old_key, old_value = self._target[layer]
        whole_key = torch.cat([old_key, self._per_beam(key)], dim=3)
        whole_value = torch.cat([old_value, self._per_beam(value)], dim=3)
        end = whole_key.shape[3] - self._num_unkept
        self.kept.append((whole_key[:, :, :, :end], whole_value[:, :, :, :end]))
        return whole_key, whole_value

    def _per_beam(self, rows: Tensor) -> Tensor:
        """[B, X, W * Q, Y] -> [B, W, X, Q, Y]."""
        return torch.unflatten(rows, 2, (self._beams, self._num_rows)).transpose(1, 2)

    def _per_example(self, rows: Tensor) -> Tensor:
        """[B, W, X, Q, Y] -> [B, X, W * Q, Y]."""
        return rows.transpose(1, 2).flatten(2, 3)

    def _bias(self, window: int | None) -> tuple[Tensor, Tensor]:
        """Biases over the source, [B, 1|H, W * Q, S], and the target, [1, 1, 1|H, Q, T + Q]."""
        if window not in self._biases:
            source = distance_bias(
                self._real[:, None, :].expand(-1, self._num_rows, -1),
                self.positions,
                self._source_positions,
                self._relative,
                window,
            )
            behind = (self._columns[None, :] <= self._offsets[:, None])[None]
            target = distance_bias(
                behind, self._offsets[None], self._columns[None], self._relative, window
            )
            self._biases[window] = source.repeat(1, 1, self._beams, 1), target[:, None]
        return self._biases[window]


def real_positions(lengths: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where a padded source has tokens [B, S] bool, and their positions [B, S] int64."""
    column = torch.arange(size, device=lengths.device)
    real = column[None, :] < lengths[:, None]
    return real, torch.where(real, column[None, :], 0)
