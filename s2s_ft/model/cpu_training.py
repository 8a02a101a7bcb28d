"""What training on a CPU does otherwise than on a GPU, switched on from outside the encoder's code.

Notable: three things cost a CPU a tenth of a step or more and a GPU next to nothing. Dropout draws
its masks (`dropout.py`). Under autocast the residual stream would be float32, so that every linear
layer casts what it reads and every gradient is cast back; where each sum is normalised again at
once, as in encoders built like BERT, it is kept in the type of autocast. And the word embeddings'
gradient is a table as large as the vocabulary, of which a batch touches a few hundred rows: where
the output head shares the table and gives it a dense gradient anyway, those rows are added to that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

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
    if is_built_like_bert(encoder):
        _, first = encoder_layers(encoder)[0]
        first.register_forward_pre_hook(_in_type_of_autocast)
    words = encoder.get_input_embeddings()
    head = encoder.get_output_embeddings()  # type: ignore[no-untyped-call]
    shares = isinstance(head, nn.Linear) and isinstance(words, nn.Embedding)
    if alone and shares and words.weight is head.weight and words.max_norm is None:
        words.sparse = True


def _in_type_of_autocast(_layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Hook in front of the first layer: its input, and with it the residual stream."""
    if not torch.is_autocast_enabled("cpu"):
        return None
    return (arguments[0].to(torch.get_autocast_dtype("cpu")), *arguments[1:])
