"""What training on a CPU does otherwise than on a GPU, switched on from outside the encoder's code.

Notable: four things cost a CPU hundredths of a step and more, a GPU next to nothing. Dropout draws
its masks (`dropout.py`). Linear layers add their bias in a pass of its own (`cpu_linear.py`). Under
autocast the residual stream would be float32, so that every linear layer casts what it reads and
every gradient is cast back; where each sum is normalised again at once, as in encoders built like
BERT, it is kept in the type of autocast. And the word embeddings' gradient is a table as large as
the vocabulary, of which a batch touches a few hundred rows: where the output head shares the table
and gives it a dense gradient anyway, those rows are added to that, in place. (Left to autograd, a
sparse gradient is added to a copy of the dense one.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from s2s_ft.model.cpu_linear import use_cpu_linear
from s2s_ft.model.dropout import use_cpu_dropout
from s2s_ft.model.parts import encoder_layers
from s2s_ft.model.rows import is_built_like_bert
from s2s_ft.model.seq2seq import Seq2SeqModel


def adapt_to_cpu(model: Seq2SeqModel, *, alone: bool) -> None:
    """Make training on a CPU faster; what is computed stays the same but for rounding and masks.

    Args:
        model: On a CPU, complete (adapters included).
        alone: Whether this process trains by itself; several exchange dense gradients only.
    """
    encoder = model.encoder
    use_cpu_dropout(encoder)
    use_cpu_linear(encoder)
    if is_built_like_bert(encoder):
        _, first = encoder_layers(encoder)[0]
        first.register_forward_pre_hook(_in_type_of_autocast)
    words = encoder.get_input_embeddings()
    head = encoder.get_output_embeddings()
    shares = isinstance(head, nn.Linear) and isinstance(words, nn.Embedding)
    if alone and shares and words.weight is head.weight and words.max_norm is None:
        _LookedUp(words)


def _in_type_of_autocast(_layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Hook in front of the first layer: its input, and with it the residual stream."""
    if not torch.is_autocast_enabled("cpu"):
        return None
    return (arguments[0].to(torch.get_autocast_dtype("cpu")), *arguments[1:])


class _LookedUp:
    """The gradients of looked-up rows, until the table has its dense one.

    Autograd gives a parameter its gradient when all who use it have handed theirs in. Here the
    look-up hands in nothing but notes its rows, so that they can be added right after that.
    """

    def __init__(self, words: nn.Embedding) -> None:
        """Take over an embedding's gradient from autograd; its output stays what it is."""
        self._rows: list[tuple[Tensor, Tensor]] = []
        self._waits = False
        words.register_forward_hook(self._after_look_up)

    def _after_look_up(
        self, words: nn.Embedding, arguments: tuple[Tensor, ...], output: Tensor
    ) -> Tensor | None:
        """Forward hook: the same rows, with a way back that ends here."""
        self._rows.clear()  # of a backward pass that was broken off
        if not output.requires_grad:
            return None
        if not self._waits:  # a frozen table takes no hook, and may be unfrozen later
            words.weight.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                self._after_dense_gradient
            )
            self._waits = True
        rows: Tensor = _Noted.apply(  # type: ignore[no-untyped-call]
            output.detach(), words.weight, arguments[0], words.padding_idx, self._rows
        )
        return rows

    def _after_dense_gradient(self, weight: Tensor) -> None:
        """Add the rows, of which several may be of the same word."""
        assert weight.grad is not None
        for ids, rows in self._rows:
            weight.grad.index_add_(0, ids, rows)
        self._rows.clear()


class _Noted(torch.autograd.Function):
    """Rows of a table; what comes back is put on a list instead of into a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        _weight: Tensor,
        ids: Tensor,
        padding: int | None,
        noted: list[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """`_weight` is there so that its gradient waits for the way back."""
        ctx.ids, ctx.padding, ctx.noted = ids.flatten(), padding, noted
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, ...]:
        """Rows of the padding token get no gradient from here, as in `nn.Embedding`."""
        rows = upstream.reshape(ctx.ids.shape[0], -1)
        if ctx.padding is not None:
            rows = rows.masked_fill((ctx.ids == ctx.padding).unsqueeze(-1), 0.0)
        ctx.noted.append((ctx.ids, rows))
        return None, None, None, None, None
