"""Bootstrap intervals: how far a score would move if the test set had been drawn anew.

Examples are drawn with replacement, as often as the test set has examples, and the score is
computed from the drawn examples' statistics; nothing is tokenised again. Every call with the same
seed and number of examples draws the same examples, so that scores and systems are compared on
the same resamples.

Letters: N examples, R resamples, S statistics of an example.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 95.0  # percent of the resamples that an interval covers


@dataclass(frozen=True)
class Estimate:
    """A score and its bootstrap interval, all from 0 to 100.

    Attributes:
        value: The score on the test set as it is.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


def resampled_totals(
    statistics: NDArray[np.float64], *, num_bootstrap: int, seed: int
) -> NDArray[np.float64]:
    """Sum each statistic over the examples of each resample.

    Args:
        statistics: [N, S] float64, one row an example.
        num_bootstrap: Number of resamples, R.
        seed: Seed of the generator that draws the examples.

    Returns:
        [R, S] float64, the sums over N drawn examples.
    """
    num_examples = len(statistics)
    generator = np.random.default_rng(seed)
    totals = np.empty((num_bootstrap, statistics.shape[1]))
    for resample in range(num_bootstrap):
        drawn = generator.integers(num_examples, size=num_examples)
        totals[resample] = np.bincount(drawn, minlength=num_examples) @ statistics
    return totals


def percentile_interval(samples: NDArray[np.float64]) -> tuple[float, float]:
    """The ends between which the middle `CONFIDENCE` percent of `samples` [R] lie."""
    tail = (100.0 - CONFIDENCE) / 2
    low, high = np.percentile(samples, [tail, 100.0 - tail])
    return float(low), float(high)
