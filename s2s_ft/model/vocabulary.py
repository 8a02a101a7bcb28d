"""The rows that an encoder has per token: its word embeddings, output embeddings and output biases.

Notable: all of them are found and changed together, ties included, so a vocabulary may grow by a
user's tokens (`--additional_tokens`) or be cut down (`python -m s2s_ft.trim`) in every family.

    input embeddings    [V, embedding]
    output embeddings   [V, embedding]   mostly the same parameter
    output bias         [V]              of the last linear layer, of the head around it, or none

Letter: V rows, at least as many as the tokenizer has tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from s2s_ft.model.heads import head_modules
from s2s_ft.text import NewToken

logger = logging.getLogger(__name__)


def vocabulary_weights(encoder: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Every parameter with a row per token, by one of its names in the encoder.

    Args:
        encoder: With or without its output embeddings tied.

    Returns:
        Each parameter once; the input embeddings first.
    """
    words = encoder.get_input_embeddings().get_parameter("weight")
    output = encoder.get_output_embeddings()
    found = {id(words)} if output is None else {id(words), id(output.weight)}
    for _, module in head_modules(encoder):
        bias = getattr(module, "bias", None)
        # A head may keep the bias itself, beside a last layer without one or with the same.
        is_other = isinstance(module, nn.Linear | nn.LayerNorm) and module is not output
        if isinstance(bias, nn.Parameter) and bias.shape == words.shape[:1] and not is_other:
            found.add(id(bias))
    return {name: each for name, each in encoder.named_parameters() if id(each) in found}


def change_rows(encoder: PreTrainedModel, change: Callable[[Tensor], Tensor]) -> None:
    """Put other rows in the place of the vocabulary's, in weights and config.

    Args:
        encoder: Changed in place; parameters that were shared stay shared.
        change: From [V, …] to [W, …], the same rows for every weight.
    """
    with torch.no_grad():
        new = {
            id(old): nn.Parameter(change(old.detach()), requires_grad=old.requires_grad)
            for old in vocabulary_weights(encoder).values()
        }
    for module in encoder.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(parameter) in new:
                setattr(module, name, new[id(parameter)])
                _tell_size(module, name)
    encoder.config.vocab_size = encoder.get_input_embeddings().get_parameter("weight").shape[0]


def add_rows(encoder: PreTrainedModel, new_tokens: Sequence[NewToken]) -> None:
    """Give tokens that a user added rows of their own: the means of their pieces' rows.

    Args:
        encoder: Changed in place; it grows where it has no row for an id yet.
        new_tokens: As `TextCodec.new_tokens` has them.
    """
    if not new_tokens:
        return

    def grown(rows: Tensor) -> Tensor:
        size = max(len(rows), *(token.id + 1 for token in new_tokens))
        result = rows.new_zeros(size, *rows.shape[1:])
        result[: len(rows)] = rows
        for token in new_tokens:
            result[token.id] = rows[list(token.pieces)].mean(dim=0)
        return result

    change_rows(encoder, grown)
    logger.info(
        "%d additional tokens start from the means of their pieces; the vocabulary has %d rows",
        len(new_tokens),
        encoder.config.vocab_size,
    )


def _tell_size(module: nn.Module, name: str) -> None:
    """Have a module's own record of its size say what its weight is."""
    rows = module.get_parameter(name).shape[0]
    if isinstance(module, nn.Embedding):
        module.num_embeddings = rows
    elif isinstance(module, nn.Linear):
        module.out_features = rows
