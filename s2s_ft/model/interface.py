"""What an encoder must be to be fine-tuned here: it has a masked-LM head and obeys the plan.

Notable: a family that only looks as if it went through transformers' attention interface would see
what it must not see, and train on it without a word; so every loaded encoder is put to the test.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedConfig

from s2s_ft.model.columns import CacheShape
from s2s_ft.model.seq2seq import Seq2SeqModel

SUITABLE = (
    "take BERT, RoBERTa, XLM-R, ELECTRA, MiniLM, CamemBERT, ERNIE, EuroBERT, NomicBERT or "
    "ModernBERT"
)

ROUNDING = 1e-5
"""How far the same logits may differ from one pass to another, relative to the largest."""


def masked_lm_class(config: PreTrainedConfig, named: str) -> Any:
    """The family's class with a masked-LM head.

    Args:
        config: Of the encoder.
        named: The encoder with the flag that named it, for messages.

    Raises:
        ValueError: It has none, or does not go through transformers' attention interface.
    """
    try:
        family: Any = AutoModelForMaskedLM._model_mapping[type(config)]
    except KeyError:
        family = None
    if family is not None and family._supports_attention_backend:
        return family
    kind = "encoders"
    if config.is_encoder_decoder:  # which says more than what such a model lacks
        kind, fault = "models", "have a decoder of their own, and an encoder alone is needed"
    elif family is None:
        fault = "have no masked-LM head"
    else:
        fault = "do not go through transformers' attention interface"
    raise ValueError(
        f"{named}: {kind} of type '{config.model_type}' cannot be fine-tuned here: they {fault}; "
        f"{SUITABLE}"
    )


def check_interface(model: Seq2SeqModel, named: str) -> None:
    """Make sure that every layer's attention really runs by the plan, and nothing else mixes rows.

    Args:
        model: Put together.
        named: Its encoder with the flag that named it, for messages.

    Raises:
        ValueError: It does not, so the encoder would silently see what it must not.
    """
    kind = f"{named}: encoders of type '{model.encoder.config.model_type}'"
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            one, other = (_answer(model, first_question=token) for token in (0, 1))
    except (AssertionError, TypeError, AttributeError) as error:
        raise ValueError(f"{kind} do not hand the plan to every layer; {SUITABLE}") from error
    finally:
        model.train(training)
    if (one - other).abs().max() > ROUNDING * one.abs().max():
        raise ValueError(
            f"{kind} mix each token with its neighbours outside of attention, so that it would see "
            f"what it must not; {SUITABLE}"
        )


def _answer(model: Seq2SeqModel, *, first_question: int) -> Tensor:
    """[1, 1, V] logits of a second question; the first one has left nothing behind."""
    cache = model.new_cache(CacheShape(num_beams=1, num_rows=2, num_steps=2))
    model.encode(torch.tensor([[0, 0, first_question]]), [2], cache, num_unkept=1)
    for layer in range(model.num_layers):
        assert cache.holds(layer)
    return model.step(torch.zeros(1, 1, 2, dtype=torch.long), cache, num_unkept=1)
