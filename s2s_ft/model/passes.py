"""The attention plan of one decoding step of every beam, and the attention of decoding.

Letters: B examples, W beams, Q rows a beam feeds, K columns of the cache that take part, R rows of
queries, H heads, G key/value heads, D head size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from s2s_ft.model.attention import AttentionCall, AttentionPlan, kernel_bias
from s2s_ft.model.bucket import Bucket
from s2s_ft.model.cache import KeyValueCache
from s2s_ft.model.pattern import distance_bias
from s2s_ft.model.positions import RelativePositionBias
from s2s_ft.model.softmax import biased_softmax


class StepPass(AttentionPlan):
    """One decoding step: the new rows of every beam over everything its example holds.

    Attributes:
        positions: [B, Q * W] int64, all beams' first rows before their second ones.
    """

    def __init__(self, cache: KeyValueCache, relative: RelativePositionBias | None) -> None:
        """Take the filled cache."""
        self._parts = [(_Part(bucket, relative), span) for bucket, span in cache.buckets()]
        each = [part.positions for part, _ in self._parts]
        self.positions = each[0] if len(each) == 1 else torch.cat(each)
        examples, rows = self.positions.shape
        beams = cache.shape.num_beams
        last = torch.arange(rows - beams, rows, device=cache.device)
        first = torch.arange(0, examples * rows, rows, device=cache.device)
        self.read_rows = (first[:, None] + last).view(-1)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """All beams of an example over its source and all its beams' targets, in one product a
        bucket.

        Args:
            layer: Index of the layer.
            query: [B, H, Q * W, D].
            key: [B, G, Q * W, D].
            value: [B, G, Q * W, D].
            call: Scaling and window.

        Returns:
            [B, H, Q * W, D]; of a layer of which only the last rows are read, all others are of no
            meaning.
        """
        last_only = layer == self.narrowed_layer
        if len(self._parts) == 1:
            return self._parts[0][0].attend(layer, query, key, value, call, last_only=last_only)
        result = torch.empty_like(query)
        for part, span in self._parts:
            result[span] = part.attend(
                layer, query[span], key[span], value[span], call, last_only=last_only
            )
        return result


class _Part:
    """A step of the examples of one bucket.

    Attributes:
        positions: [B, Q * W] int64.
    """

    def __init__(self, bucket: Bucket, relative: RelativePositionBias | None) -> None:
        self._bucket = bucket
        self._relative = relative
        self._seen = bucket.columns.seen()
        self.positions = bucket.columns.positions()
        self._biases: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        call: AttentionCall,
        *,
        last_only: bool,
    ) -> Tensor:
        """See `StepPass.attend`."""
        given, dtype = query.dtype, self._bucket.dtype or query.dtype
        query = query.to(dtype)
        keys, values = self._bucket.write(layer, key, value)
        bias = self._bias(call.window, dtype)
        if not last_only:
            return grouped_attention(query, keys, values, bias, call.scaling).to(given)
        result = torch.empty_like(query, dtype=given)
        beams = self._bucket.shape.num_beams
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
                    self._bucket.columns.column_positions(),
                    self._relative,
                    window,
                )
            self._biases[window, dtype] = kernel_bias(bias, dtype)
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
    examples, heads, rows, size = query.shape
    groups, columns = key.shape[1], key.shape[2]
    if query.device.type != "cpu":
        if groups != heads:  # with a mask, fused kernels do not know of groups, only of rows
            query = query.reshape(examples, groups, heads // groups * rows, size)
            bias = _of_groups(bias, heads, groups)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scaling)
        return found.reshape(examples, heads, rows, size)
    grouped = (query * scaling).reshape(examples, groups, heads // groups * rows, size)
    scores = torch.matmul(grouped, key.transpose(-1, -2)).view(examples, heads, rows, columns)
    weights = biased_softmax(scores, bias).view(examples, groups, -1, columns)
    return torch.matmul(weights, value).view(examples, heads, rows, size)


def _of_groups(bias: Tensor, heads: int, groups: int) -> Tensor:
    """[B, 1|H, R, K] -> [B, 1|G, H / G * R, K], for the rows of all heads of a group together."""
    examples, kinds, rows, columns = bias.shape
    if kinds == 1:
        bias = bias.expand(-1, heads // groups, -1, -1)
    return kernel_bias(bias.reshape(examples, -1, heads // groups * rows, columns), bias.dtype)
