"""What a score is made of: statistics of each example, and the way they become one number.

Notable: intervals and comparisons of two systems only add up these statistics over resampled
examples, so that nothing is cut into words or matched twice, and every score, a mean or a corpus
score, is resampled in the same way.

Letters: N examples, R resamples, S statistics of an example, C columns (the score, and for ROUGE
its precision and recall).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2s_ft.evaluation.bootstrap import Estimate, percentile_interval, resampled_totals
from s2s_ft.evaluation.scores import Score

Combine = Callable[[NDArray[np.float64], int], NDArray[np.float64]]


@dataclass(frozen=True)
class Measure:
    """One score of one system, before it is summed up.

    Attributes:
        key: Name in the JSON file.
        title: Name in the table.
        signature: What one must know to compute the same number again.
        statistics: [N, S] float64, one row an example.
        combine: Makes [R, C] scores (0 to 100) of [R, S] sums and the number of examples in each.
    """

    key: str
    title: str
    signature: str
    statistics: NDArray[np.float64]
    combine: Combine

    def samples(self, *, num_bootstrap: int, seed: int) -> NDArray[np.float64]:
        """The score on each resample, [R, C]; the same seed draws the same examples."""
        totals = resampled_totals(self.statistics, num_bootstrap=num_bootstrap, seed=seed)
        return self.combine(totals, len(self.statistics))

    def values(self) -> NDArray[np.float64]:
        """The score on the test set as it is, [C]."""
        scores = self.combine(self.statistics.sum(axis=0)[None], len(self.statistics))
        return np.asarray(scores[0])

    def score(self, *, num_bootstrap: int, seed: int) -> Score:
        """The score with its interval; columns after the first are precision and recall."""
        samples = self.samples(num_bootstrap=num_bootstrap, seed=seed)
        return score_of(self, self.values(), samples)


def score_of(measure: Measure, values: NDArray[np.float64], samples: NDArray[np.float64]) -> Score:
    """A score of its `values` [C] and of its `samples` [R, C], named as `measure` is."""
    columns = [
        Estimate(float(value), *percentile_interval(column))
        for value, column in zip(values, samples.T, strict=True)
    ]
    precision, recall = columns[1:3] if len(columns) > 1 else (None, None)
    return Score(measure.key, measure.title, columns[0], measure.signature, precision, recall)


def means(totals: NDArray[np.float64], num_examples: int) -> NDArray[np.float64]:
    """Means times 100 of statistics from 0 to 1: the `combine` of scores that are averaged."""
    return totals * (100 / num_examples)
