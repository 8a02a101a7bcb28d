"""What a search finds: hypotheses, read off the recorded beams of one example once it is decided.

How beams are recorded, with two beams (token, back-pointer; `#` is the end token):

    step       0          1          2
    beam 0    a  -       b <0       # <1        best at step 2:  # <- c <- a   =  "a c #"
    beam 1    d  -       c <0       e <0

Notable: candidates are all entries that end with the end token, at any step, and all entries of the
last step that there can be; the first best wins ties. Groups of a diverse search may come to the
same tokens: of these the best counts. Samples are drawn independently, and may be equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what reads traces and searches nothing needs no torch
    from s2s_ft.decode.search.settings import SearchSettings


@dataclass(frozen=True)
class Hypothesis:
    """One finished output.

    Attributes:
        ids: Tokens, without the end token.
        score: Natural-log probability with the length penalty or reward: what hypotheses are ranked
            by.
        log_probability: Natural-log probability, summed over the tokens, the end token included.
        finished: Whether it ended by itself, and not at the maximum length.
        token_log_probabilities: Natural-log probability of each token, the end token included.
    """

    ids: tuple[int, ...]
    score: float
    log_probability: float
    finished: bool
    token_log_probabilities: tuple[float, ...] = ()


@dataclass
class Trace:
    """Every step of one example's search; one inner list a step, one entry a beam.

    Attributes:
        scores: Summed natural-log probabilities, penalties included.
        ids: Token of each beam.
        parents: Beam of the step before that it goes on from.
    """

    scores: list[list[float]] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)
    parents: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True)
class SearchResult:
    """What a search found for one example: hypotheses, best first, and the trace if one was asked
    for.
    """

    hypotheses: list[Hypothesis]
    trace: Trace | None


def length_divisor(length: int, length_penalty: float) -> float:
    """((5 + length) / 6)^p for p > 0, else 1 (Wu et al. 2016, section 7)."""
    return float(((5.0 + length) / 6.0) ** length_penalty) if length_penalty > 0.0 else 1.0


def ranked(total: float, length: int, settings: SearchSettings) -> float:
    """What a hypothesis of `length` tokens, the end token included, is ranked by."""
    reward = settings.length_reward * length
    return total / length_divisor(length, settings.length_penalty) + reward


def read_off(trace: Trace, settings: SearchSettings) -> SearchResult:
    """The best hypotheses of one example's recorded beams."""
    candidates = _candidates(trace, settings)
    candidates.sort(key=lambda candidate: (-candidate[0], candidate[1], candidate[2]))
    every = (_hypothesis(trace, *candidate, settings.eos_id) for candidate in candidates)
    found = _distinct(every) if settings.num_groups > 1 else every
    best = list(islice(found, settings.num_return))
    return SearchResult(best, trace if settings.keep_trace else None)


def _distinct(hypotheses: Iterable[Hypothesis]) -> Iterator[Hypothesis]:
    """The first of those with the same tokens."""
    seen: set[tuple[tuple[int, ...], bool]] = set()
    for each in hypotheses:
        tokens = (each.ids, each.finished)
        if tokens not in seen:
            seen.add(tokens)
            yield each


def _candidates(trace: Trace, settings: SearchSettings) -> list[tuple[float, int, int]]:
    """Score, step and beam of every entry that is a whole hypothesis."""
    found = []
    ended: list[bool] = []
    # Where the search stopped before the last step, a beam that is still going has lost.
    last = settings.max_length - 1
    for step, tokens in enumerate(trace.ids):
        was_ended = [bool(ended) and ended[parent] for parent in trace.parents[step]]
        for beam, token in enumerate(tokens):
            if (token == settings.eos_id or step == last) and not was_ended[beam]:
                score = ranked(trace.scores[step][beam], step + 1, settings)
                found.append((score, step, beam))
        ended = [
            token == settings.eos_id or was for token, was in zip(tokens, was_ended, strict=True)
        ]
    return found


def _hypothesis(trace: Trace, score: float, step: int, beam: int, eos_id: int) -> Hypothesis:
    """Follow the back-pointers of one entry."""
    finished = trace.ids[step][beam] == eos_id
    ids, totals = [], []
    for earlier in range(step, -1, -1):
        ids.append(trace.ids[earlier][beam])
        totals.append(trace.scores[earlier][beam])
        beam = trace.parents[earlier][beam]
    ids.reverse()
    totals.reverse()
    steps = zip(totals, [0.0, *totals], strict=False)
    return Hypothesis(
        ids=tuple(ids[:-1] if finished else ids),
        score=score,
        log_probability=totals[-1],
        finished=finished,
        token_log_probabilities=tuple(after - before for after, before in steps),
    )
