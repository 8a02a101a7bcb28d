"""Layer by layer: learning rates that fall towards the embeddings, and gradual unfreezing.

Both are from Howard and Ruder 2018 (ULMFiT): the lower a layer, the more general what it knows and
the less it should move; and the head learns first, then one layer more at a time.

    layer                 embeddings  1         …   L - 1    L   head
    learning rate times   d^L         d^(L-1)   …   d        1   1
    trained from update   (L + 1)n    Ln        …   2n       n   0      n = --unfreeze_steps

Notable: both are pure functions of the weight's depth and of the number of the update, so a resumed
run needs no state for them. A frozen weight has no gradient, and the optimizer leaves it alone,
weight decay included.
"""

from __future__ import annotations

from s2s_ft.model.parts import encoder_layers, origin_of, weight_depths
from s2s_ft.model.seq2seq import Seq2SeqModel

ENCODER = "encoder."
"""What the names of the encoder's parameters begin with in the model."""


def rate_factors(model: Seq2SeqModel, layer_decay: float) -> dict[str, float]:
    """What the learning rate of each parameter is multiplied by.

    Args:
        model: Of any family.
        layer_decay: d, in (0, 1]: the rate of a layer over that of the layer above.

    Returns:
        By the names of `model.named_parameters()`; empty where all are 1.
    """
    if layer_decay == 1.0:
        return {}
    top = len(encoder_layers(model.encoder))
    return {name: layer_decay ** (top - min(d, top)) for name, d in _depths(model).items()}


def freeze_for(model: Seq2SeqModel, step: int, unfreeze_steps: int) -> None:
    """Let those weights be trained that update `step` trains, and no others.

    Args:
        model: Changed in place: `requires_grad` of its parameters. What is never trained
            (`--fix_word_embedding`) stays so.
        step: Number of the coming update, from 0.
        unfreeze_steps: Updates after which one layer more is trained, at least 1.
    """
    lowest = len(encoder_layers(model.encoder)) + 1 - step // unfreeze_steps
    depths = _depths(model)
    fixed = {ENCODER + name for name in origin_of(model.encoder).fixed}
    for name, parameter in model.named_parameters():
        parameter.requires_grad = depths[name] >= lowest and name not in fixed


def _depths(model: Seq2SeqModel) -> dict[str, int]:
    """Depth of every parameter; the relative-position bias is read by the first layer already."""
    depths = {ENCODER + name: depth for name, depth in weight_depths(model.encoder).items()}
    return {name: depths.get(name, 0) for name, _ in model.named_parameters()}
