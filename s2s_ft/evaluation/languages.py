"""Averages over languages, with intervals: every language is a test set of its own.

Notable: each language is resampled by itself, with a seed of its own, because its examples have
nothing to do with those of another language; an average is that of the resampled scores.

Letters: L languages, R resamples, C columns of a score.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from s2s_ft.evaluation.measures import Measure, score_of
from s2s_ft.evaluation.scores import Score
from s2s_ft.evaluation.significance import Difference, difference_of

PLACE = "{lang}"


def names(languages: str) -> list[str]:
    """The languages of `--languages`, such as ``en,de``.

    Raises:
        ValueError: One is named twice, or none is.
    """
    found = [name.strip() for name in languages.split(",") if name.strip()]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"--languages {languages}: name every language once, such as en,de,fr")
    return found


def file_of(pattern: str, language: str, *, flag: str) -> str:
    """The file of a language.

    Raises:
        ValueError: The pattern has no place for the language.
    """
    if PLACE not in pattern:
        raise ValueError(f"{flag} {pattern}: write {PLACE} where the language stands in its name")
    return pattern.replace(PLACE, language)


def average_scores(
    systems: Sequence[Sequence[Measure]], *, num_bootstrap: int, seed: int
) -> list[Score]:
    """Average the scores of L languages.

    Args:
        systems: The measures of each language, the same scores in the same order.
        num_bootstrap: Number of resamples, R.
        seed: Seed of the first language; the others count up from it.
    """
    scores = []
    for measures in zip(*systems, strict=True):
        values = np.mean([each.values() for each in measures], axis=0)
        samples = _mean_samples(measures, num_bootstrap, seed)
        signature = _joined_signature([each.signature for each in measures])
        scores.append(score_of(replace(measures[0], signature=signature), values, samples))
    return scores


def average_differences(
    systems: Sequence[Sequence[Measure]],
    others: Sequence[Sequence[Measure]],
    *,
    num_bootstrap: int,
    seed: int,
) -> list[Difference]:
    """Compare the averages of two systems over L languages; see `average_scores`."""
    found = []
    for ours, theirs in zip(zip(*systems, strict=True), zip(*others, strict=True), strict=True):
        values = [float(np.mean([m.values()[0] for m in each])) for each in (ours, theirs)]
        samples = [_mean_samples(each, num_bootstrap, seed)[:, 0] for each in (ours, theirs)]
        found.append(difference_of(ours[0], (values[0], values[1]), samples[0] - samples[1]))
    return found


def _joined_signature(signatures: Sequence[str]) -> str:
    """One signature, with all values of what differs: ``nrefs:1|tok:13a,zh``."""
    fields: list[dict[str, None]] = []
    for parts in zip(*(signature.split("|") for signature in signatures), strict=True):
        fields.append(dict.fromkeys(parts))
    return "|".join(
        ",".join([first, *(other.partition(":")[2] for other in others)])
        for first, *others in fields
    )


def _mean_samples(
    measures: Sequence[Measure], num_bootstrap: int, seed: int
) -> NDArray[np.float64]:
    """The average of the languages on each resample, [R, C]."""
    drawn = [
        each.samples(num_bootstrap=num_bootstrap, seed=seed + number)
        for number, each in enumerate(measures)
    ]
    return np.asarray(np.mean(drawn, axis=0))
