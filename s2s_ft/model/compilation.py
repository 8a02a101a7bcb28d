"""How the encoder's layers are run in training: compiled by torch, or computed twice for memory.

Compiled is all of a layer but its attention, piece by piece:

    BERT          attention | output |, | intermediate |, | output |
    ModernBERT    | norm |, attention, | norm |, | mlp |

Notable: the layers of an encoder share the code of their pieces, and the number of rows is left
open, so there is one graph for each kind of piece, however many layers there are and however long
the rows. The graphs are made from the same made-up batch before the first update, so that a
resumed run has the very same ones. On a GPU it is about as large as those of the run, since torch
divides sums over rows among the card's processors by the rows that it has seen first. Hooks stay
around the pieces; names of weights stay as they are; outside training the pieces run as ever, since
searching knows too many shapes.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from s2s_ft.layout import Batch, Corrupted, lay_out
from s2s_ft.model.compiler import faults_of_compiling
from s2s_ft.model.parts import encoder_layers
from s2s_ft.model.positions import num_positions
from s2s_ft.model.seq2seq import Seq2SeqModel

logger = logging.getLogger(__name__)

WARM_UP_LENGTHS = (97, 23)
"""Source and target of the examples that the graphs are made from; shorter where the encoder has no
positions for them."""

WARM_UP_ROWS = 8192
"""Most tokens of the examples together: more divide a GPU's sums no better, and take memory."""


def compile_encoder(
    model: Seq2SeqModel,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    *,
    num_rows: int = 0,
) -> None:
    """Compile the encoder's layers for training (`--torch_compile`).

    Args:
        model: On its device, in training mode; changed in place.
        autocast: The context that training's forward passes run in.
        num_rows: Most tokens that one of them has; a CPU's kernels do not depend on it.

    Raises:
        EnvironmentFault: torch cannot compile here, mostly for want of a C++ compiler.
    """
    start = time.monotonic()
    pieces = [piece for _, layer in encoder_layers(model.encoder) for piece in _pieces(layer)]
    for piece in pieces:
        _compile_for_training(piece)
    with faults_of_compiling():
        _warm_up(model, autocast, 0 if model.device.type == "cpu" else num_rows)
    logger.info(
        "compiled %d pieces of the encoder in %.0f s", len(pieces), time.monotonic() - start
    )


def recompute_activations(model: Seq2SeqModel) -> None:
    """Keep only what enters each layer and compute the rest again on the way back
    (`--gradient_checkpointing`). Gradients stay the same to the last bit.

    Args:
        model: Changed in place; has no effect outside training.

    Raises:
        ValueError: The family cannot do it.
    """
    encoder = model.encoder
    layers = [layer for _, layer in encoder_layers(encoder)]
    if not all(isinstance(layer, GradientCheckpointingLayer) for layer in layers):
        raise ValueError(
            f"--gradient_checkpointing: encoders of type '{encoder.config.model_type}' cannot "
            "compute their activations a second time; leave it out"
        )
    if model.relative_position_bias is not None:
        layers = layers[1:]  # the first layer makes the bias that all others share
    for layer in layers:
        # The layer's own switch; the encoder's would also complain of caches nobody uses here.
        layer.gradient_checkpointing = True  # type: ignore[assignment]
        layer._gradient_checkpointing_func = functools.partial(  # type: ignore[assignment]
            checkpoint, use_reentrant=False
        )


def _pieces(module: nn.Module) -> Iterator[nn.Module]:
    """The largest modules of a layer that have nothing to do with its attention."""
    for child in module.children():
        attends = [each for each in child.modules() if _attends(each)]
        if not attends:
            if any(True for _ in child.parameters()):
                yield child
        elif attends != [child]:
            yield from _pieces(child)


def _attends(module: nn.Module) -> bool:
    """Whether a module is one that the attention function is called for: it knows its layer."""
    return isinstance(getattr(module, "layer_idx", None), int)


def _compile_for_training(piece: nn.Module) -> None:
    """Have a module run compiled in training and as ever otherwise."""
    plain = piece.forward
    compiled = torch.compile(plain, dynamic=True)

    def forward(*arguments: Any, **keywords: Any) -> Any:
        return (compiled if piece.training else plain)(*arguments, **keywords)

    piece.forward = forward


def _warm_up(
    model: Seq2SeqModel, autocast: Callable[[], AbstractContextManager[object]], num_rows: int
) -> None:
    """Send a made-up batch forward and back, so that everything is compiled; leaves no gradient."""
    with autocast():
        loss = model.loss(_made_up_batch(model, num_rows).to(model.device), 0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        parameter.grad = None


def _made_up_batch(model: Seq2SeqModel, num_rows: int) -> Batch:
    """Examples of several lengths, always the same: about `num_rows` tokens, at least three."""
    most = num_positions(model.encoder) or sum(WARM_UP_LENGTHS)
    scale = min(1.0, most / sum(WARM_UP_LENGTHS))
    source, target = (max(3, int(length * scale)) for length in WARM_UP_LENGTHS)
    count = max(3, min(num_rows, WARM_UP_ROWS) // (source + target))
    none = np.zeros(0, np.int64)
    examples = [
        Corrupted(
            source=np.zeros(source - shorter, np.int64),
            target=np.zeros(target - shorter, np.int64),
            pseudo=none,
            read=np.arange(target - shorter),
            labels=np.ones(target - shorter, np.int64),
        )
        for shorter in [2, 1, 0, *[0] * (count - 3)]
    ]
    return lay_out(examples, pad=0, num_target_blocks=1)
