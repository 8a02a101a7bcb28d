"""The attention plans of decoding: taking sources in, and one step of every beam.

Notable: sources are padded at their front and end side by side, with the first question behind
them, so one pass encodes them and reads the first token's prediction:

    . . x1 x2 x3 [M]        source rows look at their source, the question at the source and itself
    x1 x2 x3 x4 x5 [M]

Letters: B examples, N examples that enter, W beams, Q rows a beam feeds, s source columns of those
that enter, K columns of the cache that take part, H heads, G key/value heads, D head size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from s2s_ft.model.attention import AttentionCall, AttentionPlan
from s2s_ft.model.cache import KeyValueCache
from s2s_ft.model.pattern import distance_bias
from s2s_ft.model.positions import RelativePositionBias


class EncodePass(AttentionPlan):
    """Runs sources and the first question behind them, and keeps their keys and values.

    Attributes:
        positions: [N, s + 1] int64.
    """

    def __init__(
        self,
        cache: KeyValueCache,
        rows: Tensor,
        lengths: Tensor,
        size: int,
        relative: RelativePositionBias | None,
        *,
        num_kept: int,
        left_to_right: bool,
    ) -> None:
        """Draw the pattern.

        Args:
            cache: Where the examples have been placed.
            rows: [N] int64 their rows in it.
            lengths: [N] int64 true source tokens.
            size: s.
            relative: UniLMv2's bias, or None.
            num_kept: Whether the question is kept (1) or not (0).
            left_to_right: Hide later source tokens.
        """
        self._cache = cache
        self._rows = rows
        self._relative = relative
        self._num_kept = num_kept
        column = torch.arange(size + 1, device=lengths.device)
        first = size - lengths[:, None]  # [N, 1]
        self.positions = (column - first).clamp(min=0)
        is_source = (column >= first) & (column < size)  # [N, s + 1]
        seen = is_source[:, None, :]
        if left_to_right:
            seen = seen & (column[None, :] <= column[:, None])
        question = column == size
        self._allowed = seen | (question[:, None] & question[None, :])
        self._biases: dict[tuple[int | None, torch.dtype], Tensor] = {}
        examples = lengths.shape[0]
        self.read_rows = torch.arange(1, examples + 1, device=lengths.device) * (size + 1) - 1

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """One product over the source and the question; keys and values go into the cache."""
        given, dtype = query.dtype, self._cache.dtype or query.dtype
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        self._cache.write_source(layer, self._rows, key, value, num_kept=self._num_kept)
        kind = (call.window, query.dtype)
        if kind not in self._biases:
            self._biases[kind] = distance_bias(
                self._allowed, self.positions, self.positions, self._relative, call.window
            ).to(query.dtype)
        bias = self._biases[kind]
        if layer != self.narrowed_layer:
            return grouped_attention(query, key, value, bias, call.scaling).to(given)
        result = torch.empty_like(query, dtype=given)
        result[:, :, -1:] = grouped_attention(
            query[:, :, -1:], key, value, bias[:, :, -1:], call.scaling
        )
        return result


class StepPass(AttentionPlan):
    """One decoding step: the new rows of every beam over everything its example holds.

    Attributes:
        positions: [B, Q * W] int64, all beams' first rows before their second ones.
    """

    def __init__(self, cache: KeyValueCache, relative: RelativePositionBias | None) -> None:
        """Take the filled cache."""
        self._cache = cache
        self._relative = relative
        self._seen = cache.columns.seen()
        self.positions = cache.columns.positions()
        self._biases: dict[tuple[int | None, torch.dtype], Tensor] = {}
        examples, rows = self.positions.shape
        beams = cache.shape.num_beams
        last = torch.arange(rows - beams, rows, device=cache.device)
        first = torch.arange(0, examples * rows, rows, device=cache.device)
        self.read_rows = (first[:, None] + last).view(-1)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """All beams of an example over its source and all its beams' targets, in one product.

        Args:
            layer: Index of the layer.
            query: [B, H, Q * W, D].
            key: [B, G, Q * W, D].
            value: [B, G, Q * W, D].
            call: Scaling and window.

        Returns:
            [B, H, Q * W, D].
        """
        given, dtype = query.dtype, self._cache.dtype or query.dtype
        query = query.to(dtype)
        keys, values = self._cache.write(layer, key, value)
        bias = self._bias(call.window, dtype)
        if layer != self.narrowed_layer:
            return grouped_attention(query, keys, values, bias, call.scaling).to(given)
        result = torch.empty_like(query, dtype=given)
        beams = self._cache.shape.num_beams
        result[:, :, -beams:] = grouped_attention(
            query[:, :, -beams:], keys, values, bias[:, :, -beams:], call.scaling
        )
        return result

    def _bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """[B, 1|H, Q * W, K]; layers with the same window share it."""
        if (window, dtype) not in self._biases:
            if window is None and self._relative is None:
                bias = self._seen.unsqueeze(1)
            else:
                bias = distance_bias(
                    self._seen == 0.0,
                    self.positions,
                    self._cache.columns.column_positions(),
                    self._relative,
                    window,
                )
            self._biases[window, dtype] = bias.to(dtype)
        return self._biases[window, dtype]


def grouped_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scaling: float
) -> Tensor:
    """Softmax attention in which keys and values are never copied per query head.

    Args:
        query: [B, H, R, D].
        key: [B, G, K, D], H a multiple of G.
        value: [B, G, K, D].
        bias: [B, 1|H, R, K], added to the scores.
        scaling: Factor on the products.

    Returns:
        [B, H, R, D].
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=bias,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
    examples, heads, rows, size = query.shape
    groups, columns = key.shape[1], key.shape[2]
    grouped = (query * scaling).reshape(examples, groups, heads // groups * rows, size)
    scores = torch.matmul(grouped, key.transpose(-1, -2)).view(examples, heads, rows, columns)
    weights = scores.add_(bias).softmax(dim=-1).view(examples, groups, -1, columns)
    return torch.matmul(weights, value).view(examples, heads, rows, size)
