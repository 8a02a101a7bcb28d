"""The attention plan of a whole batch in one pass: training, and the reference that incremental
decoding is tested against.

Notable: on a CPU the pass and its way back are written out, as one compiled kernel (`native`) or,
where there is none, in torch's operations (`cpu_attention.py`); elsewhere, and where a bias learns,
they are autograd's.

Letters: B batch, H heads, G key/value heads, Q queries, K keys, D head size, S source, C true
tokens, L row length.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from s2s_ft.layout import Batch
from s2s_ft.model.attention import (
    AttentionCall,
    AttentionPlan,
    attention,
    kernel_bias,
    shared_heads,
)
from s2s_ft.model.cpu_attention import Bias, packed_attention
from s2s_ft.model.native import attention as compiled
from s2s_ft.model.native.rows import Examples, Pattern
from s2s_ft.model.native.trial import takes
from s2s_ft.model.packing import PackedRows
from s2s_ft.model.pattern import distance_bias, in_window, visible
from s2s_ft.model.positions import RelativePositionBias
from s2s_ft.model.rectangles import Rectangles
from s2s_ft.model.shapes import FINE, rounded_rows, steps_on


class FullPass(AttentionPlan):
    """A whole batch in one pass.

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
        self._biases: dict[tuple[int | None, torch.dtype], tuple[Tensor, Tensor]] = {}
        self._rectangle_biases: dict[int | None, list[tuple[Bias, Bias]]] = {}
        self._patterns: dict[int | None, Pattern] = {}

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
        """By the compiled kernel where there is one (`native`), else see `cpu_attention.py`."""
        heads = query.shape[1]
        key, value = shared_heads(key, heads), shared_heads(value, heads)
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            query, key, value = (each.to(dtype) for each in (query, key, value))
        if takes(query.dtype):
            return compiled.attend(
                query,
                key,
                value,
                examples=self._examples,
                pattern=self._pattern(call.window),
                scaling=call.scaling,
                dropout=call.dropout,
                rest_only=layer == self.narrowed_layer,
            )
        return packed_attention(
            query,
            key,
            value,
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
        source_bias, rest_bias = self._bias(call.window, query.dtype)
        query, key, value = (self._rows.spread(each) for each in (query, key, value))
        # Split, and not sliced: the way back is one copy in place of four passes.
        source_query, rest_query = torch.split_with_sizes(query, (size, query.shape[2] - size), 2)
        if layer == self.narrowed_layer:  # its source rows give keys and values and are not read
            source = torch.zeros_like(source_query)
        else:
            source = attention(
                source_query, key[:, :, :size], value[:, :, :size], source_bias, call
            )
        rest = attention(rest_query, key, value, rest_bias, call)
        # As they lie in memory, row by row.
        both = torch.cat([source.transpose(1, 2), rest.transpose(1, 2)], dim=1)
        return self._rows.gather(both.transpose(1, 2))

    @cached_property
    def _rows(self) -> PackedRows:
        """Where the packed rows are in the batch's rectangle."""
        return PackedRows(self._batch.ids.shape, self._batch.cells)

    @cached_property
    def _rectangles(self) -> Rectangles:
        """Where they are in rectangles of like shape."""
        return Rectangles(self._batch, self._steps, len(self.cells))

    @cached_property
    def _examples(self) -> Examples:
        """Whose they are, for the compiled kernel."""
        return Examples.of(self._batch, len(self.cells))

    def _pattern(self, window: int | None) -> Pattern:
        """Who looks at whom, for the compiled kernel; layers with the same window share it."""
        if window not in self._patterns:
            self._patterns[window] = Pattern.of(
                self._examples,
                self._allowed(self._batch, window),
                source_sees_all=window is None and not self._left_to_right_source,
                rest_sees_source=window is None,
            )
        return self._patterns[window]

    def _bias(self, window: int | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Biases of the two products; layers with the same window share them."""
        if self._relative is not None:
            dtype = torch.float32  # in which the gradients of all layers add up
        if (window, dtype) not in self._biases:
            source, rest = self._two_biases(self._batch, window)
            self._biases[window, dtype] = kernel_bias(source, dtype), kernel_bias(rest, dtype)
        return self._biases[window, dtype]

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
        allowed, relative = self._allowed(batch, window), self._relative
        size, positions = batch.source_size, batch.positions
        source, rest = positions[:, :size], positions[:, size:]
        return (
            distance_bias(allowed[:, :size, :size], source, source, relative, None),
            distance_bias(allowed[:, size:], rest, positions, relative, None),
        )

    def _allowed(self, batch: Batch, window: int | None) -> Tensor:
        """[n, L, L] bool: the pattern, and where there is a window what lies in it."""
        pattern = visible(batch, left_to_right_source=self._left_to_right_source)
        if window is None:
            return pattern
        positions = batch.positions
        return pattern & in_window(positions[:, None] - positions[:, :, None], window)
