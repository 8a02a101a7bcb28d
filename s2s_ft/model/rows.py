"""Leaving out rows whose results nobody reads: in the last layer, and before the head.

Notable: of the last layer only the rows that the head reads are needed; all others give keys and
values there and nothing else. Everything behind the attention works row by row, so a hook in front
of the last attention's output projection drops the other rows from both of its inputs (the
attention's result and the residual), and the rest of the layer, the body's tail and the head follow
with fewer rows. Where an encoder is built otherwise, the rows are picked behind its body instead.
No family's code is touched either way; the plan that a call carries tells which rows are read.

    last layer     keys, values: all rows; queries: [read rows], zeros elsewhere  ->  attention
                   ->  [read rows]  ->  projection, norm, feed-forward  ->  head

Letters: B batch, L row length, N rows read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def leave_out_unread_rows(encoder: PreTrainedModel) -> int | None:
    """Register the hooks.

    Args:
        encoder: Its `forward` is then called with the keyword `attention_plan`; its head sees
            [1, N, hidden].

    Returns:
        Index of the layer whose unread rows are dropped, None where they are picked behind the
        body.
    """
    attention = _last_attention(encoder)
    if attention is None:
        encoder.base_model.register_forward_hook(_pick_behind_body, with_kwargs=True)
        return None
    selection = _Selection()
    attention.register_forward_pre_hook(selection.note, with_kwargs=True)
    attention.register_forward_hook(selection.forget, always_call=True)
    output = attention.output
    assert isinstance(output, nn.Module)
    output.register_forward_pre_hook(selection.apply)
    query = getattr(attention.self, "query", None)
    if isinstance(query, nn.Linear):
        query.register_forward_pre_hook(selection.ask_for_read_rows)
        query.register_forward_hook(selection.put_in_place)
    return int(encoder.config.num_hidden_layers) - 1


def is_built_like_bert(encoder: PreTrainedModel) -> bool:
    """Whether each layer's sums are normalised at once, and its rows can be dropped."""
    return _last_attention(encoder) is not None


def picked(hidden: Tensor, read_rows: Tensor) -> Tensor:
    """[B, L, hidden] -> [1, N, hidden], the rows of the flattened [B * L]."""
    return hidden.reshape(-1, hidden.shape[-1])[read_rows].unsqueeze(0)


def _last_attention(encoder: PreTrainedModel) -> nn.Module | None:
    """The last layer's attention of encoders built like BERT: `self` and then `output(result,
    residual)`.
    """
    name = f"encoder.layer.{encoder.config.num_hidden_layers - 1}.attention"
    modules = dict(encoder.base_model.named_modules())
    has_both = f"{name}.self" in modules and f"{name}.output" in modules
    return modules[name] if has_both else None


FEWEST_UNREAD = 256
"""Unread rows from which on it is worth it to leave them out of the queries."""


class _Selection:
    """Carries a call's rows from the attention, which is handed the plan, to its projections, which
    are not.
    """

    def __init__(self) -> None:
        self._read_rows: Tensor | None = None
        self._shape: torch.Size | None = None  # of what the queries are made of, where some are

    def note(self, _module: nn.Module, _arguments: Any, keywords: dict[str, Any]) -> None:
        """Before the attention: remember the rows of this call."""
        plan = keywords.get("attention_plan")
        self._read_rows = None if plan is None else plan.read_rows

    def forget(self, *_call: Any) -> None:
        """Behind the attention, or when it was broken off: the next call has rows of its own."""
        self._read_rows = self._shape = None

    def apply(
        self, _module: nn.Module, arguments: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, ...] | None:
        """Before the output projection: drop the other rows of both inputs."""
        rows, self._read_rows = self._read_rows, None
        return None if rows is None else tuple(picked(argument, rows) for argument in arguments)

    def ask_for_read_rows(
        self, _module: nn.Module, arguments: tuple[Tensor]
    ) -> tuple[Tensor] | None:
        """Before the queries: drop the rows that nobody reads, if they are many."""
        rows, shape = self._read_rows, arguments[0].shape
        is_traced = torch.compiler.is_compiling()  # also for export: sizes are to stay open
        if rows is None or is_traced or shape[:-1].numel() - rows.shape[0] < FEWEST_UNREAD:
            self._shape = None
            return None
        self._shape = shape
        return (picked(arguments[0], rows),)

    def put_in_place(
        self, _module: nn.Module, _arguments: tuple[Tensor], queries: Tensor
    ) -> Tensor | None:
        """Behind the queries: the others are zero."""
        if self._shape is None or self._read_rows is None:
            return None
        flat = queries.flatten(0, -2)
        everywhere = flat.new_zeros(self._shape[:-1].numel(), flat.shape[1])
        return everywhere.index_copy_(0, self._read_rows, flat).view(*self._shape[:-1], -1)


def _pick_behind_body(
    _body: nn.Module, _arguments: Any, keywords: dict[str, Any], output: Any
) -> Any:
    """Hook on the encoder's body: hand only the rows that are read to the head."""
    plan = keywords.get("attention_plan")
    if plan is not None and plan.read_rows is not None:
        output["last_hidden_state"] = picked(output.last_hidden_state, plan.read_rows)
    return output
