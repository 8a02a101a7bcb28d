"""The scores of one system: numbers, intervals, signatures, and their JSON form."""

from dataclasses import asdict, dataclass
from typing import Any

from s2s_ft.evaluation.bootstrap import Estimate


@dataclass(frozen=True)
class Score:
    """One score of one system.

    Attributes:
        key: Name in the JSON file, such as ``rougeL``.
        title: Name in the table, such as ``ROUGE-L``.
        estimate: The score and its interval, 0 to 100; for ROUGE the mean F1.
        signature: What one must know to compute the same number again, in sacrebleu's style.
        precision: The mean precision of ROUGE; None for other scores.
        recall: The mean recall of ROUGE; None for other scores.
    """

    key: str
    title: str
    estimate: Estimate
    signature: str
    precision: Estimate | None = None
    recall: Estimate | None = None

    def as_json(self) -> dict[str, Any]:
        """The score as a JSON object."""
        parts = {"precision": self.precision, "recall": self.recall}
        more = {name: asdict(part) for name, part in parts.items() if part is not None}
        return {**asdict(self.estimate), **more, "signature": self.signature}


@dataclass(frozen=True)
class Report:
    """All scores of one system over one test set.

    Attributes:
        scores: In the order in which they are shown.
        num_examples: Pairs of prediction and reference.
        num_empty_predictions: Predictions without text; they count with a score of 0.
        num_empty_references: References without text; nothing can match them.
        mean_prediction_words: Mean words of a prediction (characters in scripts without spaces).
        mean_reference_words: The same of a reference.
    """

    scores: tuple[Score, ...]
    num_examples: int
    num_empty_predictions: int
    num_empty_references: int
    mean_prediction_words: float
    mean_reference_words: float

    def value(self, key: str) -> float:
        """The score named `key`, 0 to 100, such as ``report.value("rouge2")``."""
        return {score.key: score.estimate.value for score in self.scores}[key]

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "scores": {score.key: score.as_json() for score in self.scores},
            "num_examples": self.num_examples,
            "num_empty_predictions": self.num_empty_predictions,
            "num_empty_references": self.num_empty_references,
            "mean_prediction_words": self.mean_prediction_words,
            "mean_reference_words": self.mean_reference_words,
        }
