"""METEOR's alignment: which word of a prediction stands for which word of a reference.

Of all one-to-one matchings it is the one that covers most words, then the one with the fewest
chunks (runs of words that are neighbours on both sides), then the one with the least movement.
Notable: the search goes through the prediction word by word and keeps the best `_BEAM` partial
matchings, as the published program does.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

_BEAM = 40

Match = tuple[int, int, int]  # position in the prediction, in the reference, stage


class _Partial(NamedTuple):
    """A matching of the first words of the prediction; tuples sort best first."""

    num_unmatched: int
    num_chunks: int
    movement: int
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
    beam = [_Partial(0, 0, 0, (), frozenset())]
    for left, found in enumerate(candidates):
        grown: list[_Partial] = []
        for partial in beam:
            free = [entry for entry in found if entry[0] not in partial.used]
            grown.extend(_extended(partial, left, right, stage) for right, stage in free)
            # A word is only left alone where its place may serve another one.
            if all(wanted[right] > 1 for right, _ in free):
                grown.append(partial._replace(num_unmatched=partial.num_unmatched + 1))
        beam = sorted(grown, key=lambda partial: partial[:3])[:_BEAM]
    return beam[0].matches, beam[0].num_chunks


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


def _extended(partial: _Partial, left: int, right: int, stage: int) -> _Partial:
    last = partial.matches[-1] if partial.matches else None
    goes_on = last is not None and last[:2] == (left - 1, right - 1)
    return _Partial(
        partial.num_unmatched,
        partial.num_chunks + (not goes_on),
        partial.movement + abs(left - right),
        (*partial.matches, (left, right, stage)),
        partial.used | {right},
    )
