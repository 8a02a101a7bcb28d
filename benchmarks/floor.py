"""The least arithmetic that a training step can do, and how fast this machine multiplies.

    floor of a batch = 3 x (linear layers on true tokens + attention on true pairs + head on
                            supervised rows); forward 1, backward 2

Notable: in the last layer only supervised rows count, all others give keys and values there. A
multiply-add is two operations. The rate is measured beside the contestants, on products of the
shapes that a step has, so that a share of the floor means something on any machine.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.rounds import Round
from s2s_ft.layout import Batch
from s2s_ft.model.precision import fast_float32_matmul

ROWS = 1600
"""Rows of the measured products, about the tokens of a batch."""


def floor_gigaflop(batch: Batch, config: Any, *, whole: bool = False) -> float:
    """Billions of operations for forward and backward pass of a pseudo-masked batch.

    Args:
        batch: Its lengths count.
        config: Of a BERT-like encoder.
        whole: Count the last layer like the others, as is usual where a share of the machine's
            rate is told (model FLOPs utilisation).
    """
    hidden: int = config.hidden_size
    layers: int = config.num_hidden_layers
    wide: int = config.intermediate_size
    vocabulary: int = config.vocab_size
    source, target = batch.source_lengths.double(), batch.target_lengths.double()
    tokens, supervised = float((source + 2 * target).sum()), batch.num_supervised
    own_rows = 4 * hidden * hidden + 4 * hidden * wide  # query and output projection, feed-forward
    keys_and_values = 4 * hidden * hidden
    linear = (layers - 1) * tokens * (own_rows + keys_and_values)
    linear += tokens * keys_and_values + (tokens if whole else supervised) * own_rows
    triangle = target * (target + 1) / 2
    pairs = float((source**2 + 2 * source * target + 2 * triangle).sum())
    last_pairs = pairs if whole else float((source * target + triangle).sum())
    attention = 4 * hidden * ((layers - 1) * pairs + last_pairs)
    head = supervised * (2 * hidden * hidden + 2 * hidden * vocabulary)
    return 3 * (linear + attention + head) / 1e9


def product_rate(hidden: int, wide: int, *, bf16: bool) -> Round:
    """A contestant that only multiplies: its "examples" are billions of operations."""
    fast_float32_matmul()
    dtype = torch.bfloat16 if bf16 else torch.float32
    rows = torch.randn(ROWS, hidden).to(dtype)
    weight = torch.randn(wide, hidden).to(dtype)
    repeats = 200 if bf16 else 100

    def run() -> dict[str, Any]:
        for _ in range(repeats):
            torch.nn.functional.linear(rows, weight)
        return {"examples": repeats * 2 * ROWS * hidden * wide / 1e9, "loss": float("nan")}

    run()
    return run
