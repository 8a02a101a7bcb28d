"""The attention function that makes an encoder sequence-to-sequence, and the plans that tell it
what to do.

Notable: this, the plans and `pattern.py`, which draws who looks at whom, are the only places that
know masks, sliding windows, the relative-position bias, attention kernels and (with `cache.py`) the
cache. The function is registered with transformers under `IMPLEMENTATION`; every encoder that goes
through `AttentionInterface` hands the keyword `attention_plan` of its `forward` down to it,
together with the layer (`module.layer_idx`).

Letters: B batch, H heads, G key/value heads, Q queries, K keys, D head size, S source, T target, L
row length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

IMPLEMENTATION = "s2s_ft"
"""Name under which the attention function is registered with transformers."""

_ALIGNMENT = 16
"""Numbers that a row of a bias takes a multiple of, for the fused kernels of GPUs."""


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
        mask = None if bias is None else kernel_bias(bias, query.dtype)
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


def kernel_bias(bias: Tensor, dtype: torch.dtype) -> Tensor:
    """A bias as the fused kernels of GPUs take it; on a CPU only its dtype changes.

    Keys must lie side by side in memory: with any other layout PyTorch falls back without a word
    on plain products, several times as slow and with all weights kept for the way back. Where rows
    of keys do not begin at multiples of some bytes, every call makes a copy of which they do.

    Args:
        bias: [B, 1|H, Q, K] in any layout.
        dtype: Of the queries.

    Returns:
        The same numbers; itself where there is nothing to change.
    """
    found = bias.to(dtype)
    if bias.device.type == "cpu":
        return found
    *outer, inner = found.stride()
    if inner == 1 and not any(stride % _ALIGNMENT for stride in outer):
        return found
    keys = found.shape[-1]
    return F.pad(found.contiguous(), (0, -keys % _ALIGNMENT))[..., :keys]


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Leave attention to PyTorch's own kernels inside, never to cuDNN.

    PyTorch 2.11 and later prefer cuDNN's on some GPUs. It prepares a plan for each new shape, which
    takes about a second, and batches without padding have hundreds of shapes; and it rounds the
    probability of dropout to sixteenths.
    """
    switches = torch.backends.cuda
    before = switches.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    switches.enable_cudnn_sdp(enabled=False)
    try:
        yield
    finally:
        switches.enable_cudnn_sdp(before)


def shared_heads(tensor: Tensor, num_heads: int, dim: int = 1) -> Tensor:
    """[B, G, K, D] -> [B, H, K, D]: each key/value head serves H / G query heads (grouped-query
    attention); the heads may lie in another dimension.
    """
    groups = num_heads // tensor.shape[dim]
    return tensor if groups == 1 else tensor.repeat_interleave(groups, dim=dim)
