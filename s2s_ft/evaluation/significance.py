"""Paired bootstrap between two systems (Koehn 2004): is the difference more than luck of the draw?

Both systems are scored on the same resamples of the examples. Notable: the p-value is two-sided
and taken from the resamples' differences moved to a mean of zero, so that two equal systems get 1
(sacrebleu moves them too, but counts one tail). Koehn's own figure, the share of resamples that
the first system wins, is given beside it.

Letters: R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2s_ft.evaluation.bootstrap import percentile_interval
from s2s_ft.evaluation.measures import Measure


@dataclass(frozen=True)
class Difference:
    """What one score says of two systems.

    Attributes:
        key: Name of the score in the JSON file.
        title: Name of the score in the table.
        value: Score of the system.
        other: Score of the one it is compared with.
        difference: `value` less `other`.
        low: Lower end of the 95 % interval of the difference.
        high: Its upper end.
        p_value: How often so large a difference comes up where there is none, 0 to 1.
        wins: Share of the resamples on which the system is ahead; a tie counts half.
    """

    key: str
    title: str
    value: float
    other: float
    difference: float
    low: float
    high: float
    p_value: float
    wins: float


def compare(
    system: Sequence[Measure], other: Sequence[Measure], *, num_bootstrap: int, seed: int
) -> list[Difference]:
    """Compare two systems score by score.

    Args:
        system: The measures of one system.
        other: The same measures of the other one, over the same examples.
        num_bootstrap: Number of resamples, R.
        seed: Seed of the resamples.

    Raises:
        ValueError: The two were not scored over the same number of examples.
    """
    differences = []
    for one, two in zip(system, other, strict=True):
        if len(one.statistics) != len(two.statistics):
            raise ValueError(
                f"{len(one.statistics)} examples cannot be compared with {len(two.statistics)}"
            )
        samples = [m.samples(num_bootstrap=num_bootstrap, seed=seed)[:, 0] for m in (one, two)]
        values = float(one.values()[0]), float(two.values()[0])
        differences.append(difference_of(one, values, samples[0] - samples[1]))
    return differences


def difference_of(
    measure: Measure, values: tuple[float, float], samples: NDArray[np.float64]
) -> Difference:
    """The verdict on two `values` whose differences on the resamples are `samples` [R]."""
    observed = values[0] - values[1]
    low, high = percentile_interval(samples)
    return Difference(
        key=measure.key,
        title=measure.title,
        value=values[0],
        other=values[1],
        difference=observed,
        low=low,
        high=high,
        p_value=p_value(samples, observed),
        wins=float(((samples > 0) + (samples == 0) / 2).mean()),
    )


def p_value(samples: NDArray[np.float64], observed: float) -> float:
    """Two-sided p-value of an observed difference.

    Args:
        samples: [R] float64, the differences on the resamples.
        observed: The difference on the test set.

    Returns:
        The share of moved resamples that differ at least as much, with one added on both sides so
        that it is never 0.
    """
    moved = np.abs(samples - samples.mean())
    # A hair of room: equal systems differ by the rounding of sums in different orders.
    at_least = int((moved >= abs(observed) - 1e-9).sum())
    return (at_least + 1) / (len(samples) + 1)


def comparison_table(differences: Sequence[Difference], names: tuple[str, str]) -> str:
    """One line a score: both values, difference, interval, p-value and share of wins."""
    rows = [["", *names, "difference", "95 % interval", "p", "wins"]]
    for each in differences:
        rows.append(
            [
                each.title,
                f"{each.value:.2f}",
                f"{each.other:.2f}",
                f"{each.difference:+.2f}",
                f"[{each.low:+.2f}, {each.high:+.2f}]",
                f"{each.p_value:.4f}",
                f"{100 * each.wins:.1f} %",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def as_json(differences: Mapping[str, Sequence[Difference]]) -> dict[str, dict[str, object]]:
    """Comparisons by the name of the other system, each score by its key."""
    hidden = ("key", "title")
    return {
        name: {each.key: {k: v for k, v in vars(each).items() if k not in hidden} for each in found}
        for name, found in differences.items()
    }
