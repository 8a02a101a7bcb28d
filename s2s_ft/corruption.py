"""How tokens are corrupted while training: the settings that every fine-tuning method shares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """How tokens are corrupted while training, in probabilities; the defaults are the original's.

    Attributes:
        random_prob: Share of replaced tokens that become a random id.
        keep_prob: Share of replaced tokens that stay as they are; the rest becomes `[MASK]`.
        source_mask_prob: Probability to corrupt a source token; zero or less switches it off.
        target_mask_prob: Probability to corrupt (masked: to mask and supervise) a target token.
        num_max_mask_token: Most positions that the masked method supervises in an example; 0 = no
            cap.
    """

    random_prob: float = 0.1
    keep_prob: float = 0.1
    source_mask_prob: float = -1.0
    target_mask_prob: float = 0.5
    num_max_mask_token: int = 0


USUAL = Corruption()

CLEAN = Corruption(random_prob=0.0, keep_prob=0.0, target_mask_prob=0.0)
"""Nothing is corrupted; what asks is a `[MASK]`."""
