"""The attention function that makes an encoder sequence-to-sequence, and the plans that tell it
what to do.

Notable: this and `pattern.py`, which draws who looks at whom, are the only places that know masks,
sliding windows, the relative-position bias, attention kernels and (with `cache.py`) the cache. It
is registered with transformers under `IMPLEMENTATION`; every encoder that goes through
`AttentionInterface` hands the keyword `attention_plan` of its `forward` down to it, together with
the layer (`module.layer_idx`).

Letters: B batch, H heads, G key/value heads, Q queries, K keys, D head size, S source, T target, L
row length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from s2s_ft.layout import Batch
from s2s_ft.model.cpu_attention import Bias, packed_attention
from s2s_ft.model.packing import PackedRows
from s2s_ft.model.pattern import distance_bias, visible
from s2s_ft.model.positions import RelativePositionBias
from s2s_ft.model.rectangles import Rectangles
from s2s_ft.model.shapes import FINE, rounded_rows, steps_on

IMPLEMENTATION = "s2s_ft"
"""Name under which the attention function is registered with transformers."""


@dataclass(frozen=True)
class AttentionCall:
    """The constants of one attention call.

    Attributes:
        scaling: Factor on the query-key products.
        dropout: Probability to drop an attention weight; 0 outside training.
        window: None, or the position distance from which on keys are out of sight (sliding-window
            layers).
    """

    scaling: float
    dropout: float
    window: int | None


class AttentionPlan(ABC):
    """What each layer's attention has to do in one forward pass.

    Attributes:
        read_rows: [N] int64 rows of the flattened [B * L] output that the head reads, or None for
            all.
        narrowed_layer: Layer of which only these rows are used, None where there is none.
    """

    read_rows: Tensor | None = None
    narrowed_layer: int | None = None

    @abstractmethod
    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """Attention of one layer.

        Args:
            layer: Index of the layer, from 0.
            query: [B, H, Q, D].
            key: [B, G, Q, D].
            value: [B, G, Q, D].
            call: The layer's scaling, dropout and window.

        Returns:
            [B, H, Q, D].
        """


def planned_attention(  # noqa: PLR0913 (the signature is that of transformers)
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    attention_plan: AttentionPlan,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_unused: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls in every layer.

    Args:
        module: The layer's attention module; only its `layer_idx` is used.
        query: [B, H, Q, D].
        key: [B, G, Q, D].
        value: [B, G, Q, D].
        attention_mask: Always None, see `no_mask`.
        attention_plan: The keyword that `Seq2SeqModel` passes to the encoder's `forward`.
        scaling: Factor on the scores; 1/sqrt(D) if None.
        dropout: Probability to drop an attention weight.
        sliding_window: Position distance from which on keys are out of sight, or None.

    Returns:
        [B, Q, H, D] and no attention weights.
    """
    assert attention_mask is None, "the plan is the mask"
    layer = module.layer_idx
    assert isinstance(layer, int)
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    call = AttentionCall(factor, dropout, sliding_window)
    output = attention_plan.attend(layer, query, key, value, call)
    return output.transpose(1, 2).contiguous(), None


def no_mask(*_arguments: Any, **_keywords: Any) -> None:
    """The mask function beside `planned_attention`: the encoder builds no mask of its own."""


AttentionInterface.register(IMPLEMENTATION, planned_attention)
AttentionMaskInterface.register(IMPLEMENTATION, no_mask)


def attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, call: AttentionCall
) -> Tensor:
    """Softmax attention with an additive bias.

    On CPU it is two explicit products: there PyTorch's fused kernel is slower for short keys and
    small heads.

    Args:
        query: [B, H, Q, D].
        key: [B, G, K, D], H a multiple of G.
        value: [B, G, K, D].
        bias: Broadcastable to [B, H, Q, K], `pattern.MASKED` where a query may not look; None =
            everywhere.
        call: Scaling and dropout.

    Returns:
        [B, H, Q, D].
    """
    key, value = shared_heads(key, query.shape[1]), shared_heads(value, query.shape[1])
    if query.device.type != "cpu":
        mask = None if bias is None else bias.to(query.dtype)
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=call.dropout, scale=call.scaling
        )
    scores = torch.matmul(query * call.scaling, key.transpose(-1, -2))
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    weights = scores.softmax(dim=-1)
    if call.dropout > 0.0:
        weights = F.dropout(weights, call.dropout)
    return torch.matmul(weights.to(value.dtype), value)


def shared_heads(tensor: Tensor, num_heads: int) -> Tensor:
    """[B, G, K, D] -> [B, H, K, D]: each key/value head serves H / G query heads (grouped-query
    attention).
    """
    groups = num_heads // tensor.shape[1]
    return tensor if groups == 1 else tensor.repeat_interleave(groups, dim=1)


class FullPass(AttentionPlan):
    """A whole batch in one pass: training, and the reference that incremental decoding is tested
    against.

    The encoder sees the true tokens of the batch side by side, [1, C]; only here they are put in
    their places in the rectangle, for the length of one attention. Where it pays, rows that nobody
    reads follow them (`shapes.py`).

    Attributes:
        cells: [C] int64 the tokens that the encoder is to see, as `example * L + column`.
    """

    def __init__(
        self,
        batch: Batch,
        relative: RelativePositionBias | None = None,
        *,
        left_to_right_source: bool = False,
    ) -> None:
        """Take a batch; see `visible` for `left_to_right_source`."""
        self._is_written_out = batch.ids.device.type == "cpu" and relative is None
        self._steps = steps_on(batch.ids.device) if self._is_written_out else FINE
        self.cells, self.read_rows = rounded_rows(batch, self._steps)
        self._batch = batch
        self._relative = relative
        self._left_to_right_source = left_to_right_source
        self._biases: dict[int | None, tuple[Tensor, Tensor]] = {}
        self._rectangle_biases: dict[int | None, list[tuple[Bias, Bias]]] = {}

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """Source rows over source keys, all other rows over all keys; all tensors are packed."""
        # The relative bias learns, and its gradient is autograd's work.
        if self._is_written_out:
            return self._attend_written_out(layer, query, key, value, call)
        return self._attend_by_autograd(layer, query, key, value, call)

    def _attend_written_out(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """See `cpu_attention.py`."""
        heads = query.shape[1]
        return packed_attention(
            query,
            shared_heads(key, heads),
            shared_heads(value, heads),
            rectangles=self._rectangles,
            biases=self._biases_of_rectangles(call.window),
            scaling=call.scaling,
            dropout=call.dropout,
            rest_only=layer == self.narrowed_layer,
        )

    def _attend_by_autograd(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall
    ) -> Tensor:
        """The same from torch's own operations."""
        size = self._batch.source_size
        source_bias, rest_bias = self._bias(call.window)
        query, key, value = (self._rows.spread(each) for each in (query, key, value))
        source_query = query[:, :, :size]
        if layer == self.narrowed_layer:  # its source rows give keys and values and are not read
            source = torch.zeros_like(source_query)
        else:
            source = attention(
                source_query, key[:, :, :size], value[:, :, :size], source_bias, call
            )
        rest = attention(query[:, :, size:], key, value, rest_bias, call)
        return self._rows.gather(torch.cat([source, rest], dim=2))

    @cached_property
    def _rows(self) -> PackedRows:
        """Where the packed rows are in the batch's rectangle."""
        return PackedRows(self._batch.ids.shape, self._batch.cells)

    @cached_property
    def _rectangles(self) -> Rectangles:
        """Where they are in rectangles of like shape."""
        return Rectangles(self._batch, self._steps, len(self.cells))

    def _bias(self, window: int | None) -> tuple[Tensor, Tensor]:
        """Biases of the two products; layers with the same window share them."""
        if window not in self._biases:
            self._biases[window] = self._two_biases(self._batch, window)
        return self._biases[window]

    def _biases_of_rectangles(self, window: int | None) -> list[tuple[Bias, Bias]]:
        """The same of each rectangle, with the columns that they touch."""
        if window not in self._rectangle_biases:
            self._rectangle_biases[window] = [
                (Bias.of(source), Bias.of(rest))
                for part in self._rectangles.parts
                for source, rest in [self._two_biases(part.batch, window)]
            ]
        return self._rectangle_biases[window]

    def _two_biases(self, batch: Batch, window: int | None) -> tuple[Tensor, Tensor]:
        """Of the source rows on source keys, and of all other rows on all keys."""
        allowed = visible(batch, left_to_right_source=self._left_to_right_source)
        size, positions = batch.source_size, batch.positions
        of_source = positions[:, :size]
        return (
            distance_bias(allowed[:, :size, :size], of_source, of_source, self._relative, window),
            distance_bias(
                allowed[:, size:], positions[:, size:], positions, self._relative, window
            ),
        )
