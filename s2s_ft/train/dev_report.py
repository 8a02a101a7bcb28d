"""What a look at held-out rows found: numbers, and a few generated texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from s2s_ft.train.best import LOSS

SCORES = ("rouge1", "rouge2", "rougeL", "bleu", "chrf")


@dataclass(frozen=True)
class Sample:
    """A held-out row and what the model makes of it; `row` counts from 0."""

    row: int
    source: str
    reference: str
    generated: str


@dataclass(frozen=True)
class DevReport:
    """What a look found.

    Attributes:
        step: Updates taken.
        loss: Mean negative log-likelihood per target token, in nats (see the top of this file).
        scores: By the names in `SCORES`, 0 to 100; empty where nothing was decoded.
        samples: The same rows at every look.
        seconds: Wall-clock time of the look.
        num_examples: Held-out rows.
    """

    step: int
    loss: float
    scores: dict[str, float]
    samples: tuple[Sample, ...]
    seconds: float
    num_examples: int

    def value(self, metric: str) -> float:
        """The number that `--eval_metric` names."""
        return self.loss if metric == LOSS else self.scores[metric]

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> DevReport:
        """What `dataclasses.asdict` made of a report."""
        samples = tuple(Sample(**sample) for sample in saved["samples"])
        return cls(**{**saved, "samples": samples})
