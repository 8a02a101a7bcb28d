"""What several seeds of several methods say: means with intervals, and differences with p-values.

Notable: all runs are scored on one test set, so examples and seeds are crossed, and that is how
they are drawn. A resample draws N examples with replacement, the same ones for every run, and of
each method K of its K seeds with replacement; its score is the mean over both. Examples drawn
anew for each seed would average the luck of the test set away, as if every seed had a test set of
its own. With few seeds such an interval is still on the narrow side: drawing three of three values
shows two thirds of their variance.

The p-value of a difference draws examples only, on the mean of each example's score over the
seeds: it speaks of these runs, and the interval with seeds drawn, too, of the methods.

Letters: K seeds of a method, N examples, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2s_ft.evaluation.bootstrap import percentile_interval, resampled_totals
from s2s_ft.evaluation.measures import Measure, means
from s2s_ft.evaluation.significance import Difference, compare

Scores = NDArray[np.float64]
"""One score of a method: [K, N], 0 to 1, a row a seed."""


@dataclass(frozen=True)
class Draw:
    """How resamples are drawn: how many, R, and the seed that makes them the same for all."""

    num_bootstrap: int = 10_000
    seed: int = 42

    def samples(self, scores: Scores, stream: int = 0) -> NDArray[np.float64]:
        """The mean over drawn examples and drawn seeds on each resample.

        Args:
            scores: [K, N].
            stream: The same examples are drawn in all of them, other seeds in each.

        Returns:
            [R], 0 to 100.
        """
        num_seeds, num_examples = scores.shape
        totals = resampled_totals(
            np.ascontiguousarray(scores.T), num_bootstrap=self.num_bootstrap, seed=self.seed
        )
        random = np.random.default_rng((self.seed, stream))
        drawn = random.integers(num_seeds, size=totals.shape)
        of_seeds = np.take_along_axis(totals, drawn, axis=1)
        return np.asarray(of_seeds.mean(axis=1) * (100 / num_examples))


USUAL = Draw()


def mean_and_interval(scores: Scores, draw: Draw = USUAL) -> dict[str, float]:
    """The mean of a method's scores [K, N] and its 95 % interval, 0 to 100."""
    low, high = percentile_interval(draw.samples(scores))
    return {"value": float(scores.mean() * 100), "low": low, "high": high}


def difference(key: str, one: Scores, other: Scores, draw: Draw = USUAL) -> dict[str, Any]:
    """What one score says of two methods.

    Args:
        key: Name of the score.
        one: [K, N] of a method.
        other: [K, N] of the method it is compared with, on the same examples; K may differ.
        draw: How resamples are drawn.

    Returns:
        The fields of `Difference` (examples drawn), and `low_with_seeds` and `high_with_seeds`,
        the interval with seeds drawn, too, of each method on its own.

    Raises:
        ValueError: The two were not scored over the same number of examples.
    """
    (found,) = compare(
        [_of_means(key, one)],
        [_of_means(key, other)],
        num_bootstrap=draw.num_bootstrap,
        seed=draw.seed,
    )
    low, high = percentile_interval(draw.samples(one, 1) - draw.samples(other, 2))
    return _without_title(found) | {"low_with_seeds": low, "high_with_seeds": high}


def summaries(
    scores: Mapping[str, Mapping[str, Scores]], draw: Draw = USUAL
) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and interval by method and score, of scores [K, N] by method and score."""
    return {
        method: {key: mean_and_interval(each, draw) for key, each in found.items()}
        for method, found in scores.items()
    }


def _of_means(key: str, scores: Scores) -> Measure:
    """A measure whose examples have the mean over the seeds."""
    return Measure(key, key, "", scores.mean(axis=0)[:, None], means)


def _without_title(found: Difference) -> dict[str, Any]:
    return {name: value for name, value in asdict(found).items() if name != "title"}
