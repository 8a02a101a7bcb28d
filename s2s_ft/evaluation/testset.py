"""A test set with the protocol it is scored by: predictions in, measures and a report out.

Letters: N examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from s2s_ft.evaluation.measures import Measure
from s2s_ft.evaluation.options import ProtocolOptions, ScoringOptions
from s2s_ft.evaluation.protocols import (
    prepare_prediction,
    prepare_reference,
    scoring_for,
    settle,
)
from s2s_ft.evaluation.scores import Report, Score
from s2s_ft.evaluation.sentences import plain_lines
from s2s_ft.evaluation.words import split_words


@dataclass(frozen=True)
class TestSet:
    """References, and how predictions are scored against them.

    Attributes:
        references: N texts.
        scoring: Tokenizers, stemming, case and resampling.
        options: Protocol and its switches.
        sources: N source sentences, for question generation only.
    """

    __test__ = False  # no test of pytest's

    references: Sequence[str]
    scoring: ScoringOptions
    options: ProtocolOptions
    sources: Sequence[str] | None = None

    def measures(self, predictions: Sequence[str]) -> tuple[Measure, ...]:
        """Count the matches of predictions with the references.

        Args:
            predictions: N texts.

        Returns:
            The protocol's scores, in the order in which they are shown.

        Raises:
            ValueError: There are not as many predictions as references.
            EnvironmentFault: A program or package that was asked for is missing.
        """
        # Imported here because the libraries behind them take their time, and `--help` should not.
        from s2s_ft.evaluation.bleu import measure_bleu_and_chrf

        protocol = settle(self.options)
        scoring = scoring_for(protocol, self.scoring)
        if len(predictions) != len(self.references):
            raise ValueError(
                f"{len(predictions)} predictions for {len(self.references)} references"
            )
        if protocol.family == "questions":
            return self._questions(predictions)
        texts = [prepare_prediction(text, protocol) for text in predictions]
        targets = [prepare_reference(text, protocol) for text in self.references]
        if protocol.family == "titles":
            return measure_bleu_and_chrf(texts, targets, scoring)[:1]
        from s2s_ft.evaluation.rouge import measure_rouge

        rouge = measure_rouge(texts, targets, scoring, lines_only=protocol.lines_only)
        return (*rouge, *measure_bleu_and_chrf(texts, targets, scoring))

    def report(self, predictions: Sequence[str], measures: Sequence[Measure]) -> Report:
        """Sum up the measures of predictions, with intervals and counts."""
        settings = self.scoring
        scores = [
            each.score(num_bootstrap=settings.num_bootstrap, seed=settings.seed)
            for each in measures
        ]
        return self.counted(predictions, scores)

    def counted(self, predictions: Sequence[str], scores: Sequence[Score]) -> Report:
        """A report of `scores`, with counts of the texts as they are in the files."""
        return Report(
            scores=tuple(scores),
            num_examples=len(self.references),
            num_empty_predictions=sum(not plain_lines(text) for text in predictions),
            num_empty_references=sum(not plain_lines(text) for text in self.references),
            mean_prediction_words=mean_words(predictions),
            mean_reference_words=mean_words(self.references),
        )

    def _questions(self, predictions: Sequence[str]) -> tuple[Measure, ...]:
        from s2s_ft.evaluation.questions import group_by_source, measure_questions

        if self.sources is None:
            raise ValueError("questions are grouped by their source sentences, and there are none")
        questions = group_by_source(
            predictions,
            self.references,
            self.sources,
            every_prediction=self.options.every_prediction,
        )
        return measure_questions(questions, self.scoring, self.options)


def mean_words(texts: Sequence[str]) -> float:
    """Mean words of a text (characters in scripts without spaces)."""
    return sum(len(split_words(plain_lines(text))) for text in texts) / len(texts)
