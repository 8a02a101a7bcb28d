"""How many rows of each language are drawn, which of them, and in which order.

    12 rows of a, 4 of b, 16 to draw      temperature   1     2       5       inf
                                          a            12    10.1     8.9     8
                                          b             4     5.9     7.1     8

Notable: nothing is left to chance but what has to be. The shares are kept to within one row, and of
a language every row comes as often as any other, or once more: drawing rows one by one would leave
many out and repeat others for no reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt


def allot(counts: Sequence[int], temperature: float, num_rows: int) -> list[int]:
    """How many rows of each language are drawn.

    Args:
        counts: Rows of each language, at least 1.
        temperature: Above 0, infinity included: shares are in proportion to counts ^ (1 / it).
        num_rows: Rows in all.

    Returns:
        A number for each language, less than one row away from its share; they add up to
        `num_rows`. What is left after rounding down goes where rounding took most.
    """
    largest = max(counts)  # in relation to it, no power is too large for a float
    weights = [Fraction((count / largest) ** (1 / temperature)) for count in counts]
    # As fractions, so that what was rounded down never adds up to more than all.
    quotas = [num_rows * weight / sum(weights) for weight in weights]
    drawn = [int(quota) for quota in quotas]
    by_rest = sorted(range(len(quotas)), key=lambda place: drawn[place] - quotas[place])
    for place in by_rest[: num_rows - sum(drawn)]:
        drawn[place] += 1
    return drawn


def draw(counts: Sequence[int], drawn: Sequence[int], seed: int) -> npt.NDArray[np.int64]:
    """Which rows are drawn, shuffled.

    Args:
        counts: Rows of each language.
        drawn: How many of them are drawn.
        seed: Decides everything.

    Returns:
        [sum(drawn)] int64 indices of rows, counted through all languages in their order. Each row
        of a language comes `drawn // count` times, and `drawn % count` of them, drawn without
        replacement, once more.
    """
    random = np.random.default_rng(seed)
    parts = []
    first = 0
    for count, wanted in zip(counts, drawn, strict=True):
        times, rest = divmod(wanted, count)
        parts.append(first + np.tile(np.arange(count), times))
        parts.append(first + random.permutation(count)[:rest])
        first += count
    return random.permutation(np.concatenate(parts))
