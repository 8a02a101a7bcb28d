"""METEOR's alignment: which word of a prediction stands for which word of a reference.

Of all one-to-one matchings it is the one that covers most words, then the one with the fewest
chunks (runs of words that are neighbours on both sides), then the one with the least movement.
Notable: the search goes through the prediction word by word and keeps the best `_BEAM` partial
matchings, as the published program does.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

_BEAM = 40

Match = tuple[int, int, int]  # position in the prediction, in the reference, stage


Cost = tuple[int, int, int]  # words left alone, chunks, movement; the least is best


class _Partial(NamedTuple):
    """A matching of the first words of the prediction."""

    cost: Cost
    matches: tuple[Match, ...]
    used: frozenset[int]


def align(
    prediction: Sequence[str],
    reference: Sequence[str],
    stage_of: Callable[[str, str], int | None],
) -> tuple[tuple[Match, ...], int]:
    """Match words one to one.

    Args:
        prediction: Its words.
        reference: Its words.
        stage_of: The stage in which two words match, None where they do not.

    Returns:
        The matches in the prediction's order, and the number of chunks they make.
    """
    candidates = [_candidates(word, reference, stage_of) for word in prediction]
    wanted = Counter(right for found in candidates for right, _ in found)
    beam = [_Partial((0, 0, 0), (), frozenset())]
    for left, found in enumerate(candidates):
        # Partial matchings are only made of the best ways on: there are many of words that repeat.
        ways: list[tuple[Cost, _Partial, Match | None]] = []
        for partial in beam:
            unmatched, chunks, movement = partial.cost
            place = _place_after(partial, left)
            free = [entry for entry in found if entry[0] not in partial.used]
            ways += [
                (
                    (unmatched, chunks + (right != place), movement + abs(left - right)),
                    partial,
                    (left, right, stage),
                )
                for right, stage in free
            ]
            # A word is only left alone where its place may serve another one.
            if all(wanted[right] > 1 for right, _ in free):
                ways.append(((unmatched + 1, chunks, movement), partial, None))
        beam = [_grown(*way) for way in sorted(ways, key=itemgetter(0))[:_BEAM]]
    return beam[0].matches, beam[0].cost[1]


def _candidates(
    own: str, reference: Sequence[str], stage_of: Callable[[str, str], int | None]
) -> list[tuple[int, int]]:
    """The positions of the reference's words that match, with their stages."""
    found = []
    for right, word in enumerate(reference):
        stage = stage_of(own, word)
        if stage is not None:
            found.append((right, stage))
    return found


def _place_after(partial: _Partial, left: int) -> int | None:
    """The place in the reference at which word `left` goes on with the last chunk, if any does."""
    if partial.matches and partial.matches[-1][0] == left - 1:
        return partial.matches[-1][1] + 1
    return None


def _grown(cost: Cost, partial: _Partial, match: Match | None) -> _Partial:
    if match is None:
        return partial._replace(cost=cost)
    return _Partial(cost, (*partial.matches, match), partial.used | {match[1]})
