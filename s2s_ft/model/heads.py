"""A fresh masked-LM head for checkpoints that have none (sentence encoders, ELECTRA
discriminators).

Notable: the head's transform starts as the identity instead of random numbers. The output
embeddings are the input embeddings, and a pretrained encoder's last hidden states already point
near the embeddings of what they stand for (residual connections carry them through), so the first
predictions are informed where a random transform destroys that. `benchmarks/fresh_head.py` shows
what it is worth.

    transform.dense   square: the identity; after a factorised embedding: the pseudo-inverse of its
                      projection, which leads back from hidden to embedding size
    transform norm    weight 1, bias 0
    decoder           tied to the input embeddings, or a copy of them where the family does not tie;
                      bias 0
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def head_modules(encoder: PreTrainedModel) -> list[tuple[str, nn.Module]]:
    """The encoder's modules outside its body, by name."""
    body = encoder.base_model_prefix
    return [
        (name, module)
        for name, module in encoder.named_modules()
        if name and name != body and not name.startswith(f"{body}.")
    ]


def is_head_weight(encoder: PreTrainedModel, name: str) -> bool:
    """Whether a weight belongs to the masked-LM head."""
    return not name.startswith(f"{encoder.base_model_prefix}.")


def initialize_fresh_head(encoder: PreTrainedModel, missing: Iterable[str]) -> None:
    """Give the missing weights of the head their starting values (table at the top of this file).

    Args:
        encoder: Changed in place.
        missing: Names of the weights that the checkpoint did not hold; others are left alone.
    """
    missing = set(missing)
    decoder = encoder.get_output_embeddings()
    with torch.no_grad():
        for name, module in head_modules(encoder):
            if module is decoder:
                if f"{name}.weight" in missing:
                    module.weight.copy_(encoder.get_input_embeddings().weight)
            elif isinstance(module, nn.Linear) and f"{name}.weight" in missing:
                module.weight.copy_(_identity(encoder, module))
                if module.bias is not None:
                    module.bias.zero_()


def _identity(encoder: PreTrainedModel, dense: nn.Linear) -> Tensor:
    """The map that changes least: the identity, or the way back from hidden to embedding size."""
    rows, columns = dense.weight.shape
    if rows == columns:
        return torch.eye(rows)
    projection = getattr(encoder.base_model, "embeddings_project", None)
    if isinstance(projection, nn.Linear) and projection.weight.shape == (columns, rows):
        way_back: Tensor = torch.linalg.pinv(projection.weight)
        return way_back
    return torch.eye(rows, columns)
