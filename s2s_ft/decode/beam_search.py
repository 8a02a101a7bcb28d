"""Beam search as a pure function over a step function: it knows arrays, not models. Greedy search
is a beam of 1.

Notable: the rules are the original's (see `search`), so its hypotheses and traces come back; the
stop rule is exact: an example leaves the batch as soon as none of its live beams can still win,
which changes no result.

How beams are kept, with two beams (token, back-pointer; `#` is the end token):

    step       0          1          2
    beam 0    a  -       b <0       # <1        best at step 2:  # <- c <- a   =  "a c #"
    beam 1    d  -       c <0       e <0

Letters: B examples still searched, W beams, W' beams after the step, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from s2s_ft.decode.constraints import FORBIDDEN, forbid_early_end, forbid_repeated_ngrams


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What to search for.

    Attributes:
        beam_size: Beams per example; 1 is greedy search.
        max_length: Most tokens of a hypothesis, the end token included.
        min_length: Tokens before the end token may come.
        length_penalty: Exponent p; scores are divided by ((5 + length) / 6)^p if above 0.
        ngram_size: No n-gram of this size may come twice; 0 switches it off.
        ignore_ids: Tokens that do not count for n-grams.
        eos_id: The end token.
        num_return: Hypotheses to return per example, at most `beam_size`.
        keep_trace: Record every step's beams, and search on until all of them have ended.
    """

    beam_size: int
    max_length: int
    eos_id: int
    min_length: int = 1
    length_penalty: float = 0.0
    ngram_size: int = 0
    ignore_ids: tuple[int, ...] = ()
    num_return: int = 1
    keep_trace: bool = False


@dataclass(frozen=True)
class Hypothesis:
    """One finished output.

    Attributes:
        ids: Tokens, without the end token.
        score: Natural-log probability after the length penalty: what hypotheses are ranked by.
        log_probability: Natural-log probability, summed over the tokens, the end token included.
        finished: Whether it ended by itself, and not at the maximum length.
    """

    ids: tuple[int, ...]
    score: float
    log_probability: float
    finished: bool


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


class Stepper(Protocol):
    """What the search needs of a model."""

    def step(self, last: Tensor | None) -> Tensor:
        """Logits or log-probabilities [B, W, V] after `last` [B, W]; None asks for the first
        token, W = 1.
        """

    def reorder(self, parents: Tensor) -> None:
        """Beams go on from `parents` [B, W'] int64."""

    def keep(self, examples: Tensor) -> None:
        """Only `examples` [B'] int64, ascending, stay."""


def length_divisor(length: int, length_penalty: float) -> float:
    """((5 + length) / 6)^p for p > 0, else 1 (Wu et al. 2016, section 7)."""
    return float(((5.0 + length) / 6.0) ** length_penalty) if length_penalty > 0.0 else 1.0


@torch.no_grad()
def search(stepper: Stepper, num_examples: int, settings: SearchSettings) -> list[SearchResult]:
    """Search the best outputs of a batch of examples.

    Per step: log-softmax; constraints; the top tokens of each beam, where a beam that has ended
    carries `FORBIDDEN`; the top beams of all these. Candidates for the result are all entries that
    end with the end token, at any step, and all entries of the last step; the first best wins ties.
    The last step is the first one in which every beam has ended, or the maximum length.

    Args:
        stepper: The model, holding the batch.
        num_examples: Examples in the batch.
        settings: What to search for.

    Returns:
        One result an example, in the batch's order.
    """
    searches = [_Record(settings) for _ in range(num_examples)]
    live = list(range(num_examples))
    state: _Beams | None = None
    for step in range(settings.max_length):
        logits = stepper.step(None if state is None else state.last)
        state = _next_beams(logits, state, step, settings)
        stepper.reorder(state.parents)
        going_on = _record(searches, live, state, step, settings)
        if not going_on:
            break
        if len(going_on) < len(live):
            kept = torch.tensor(going_on, device=logits.device)
            stepper.keep(kept)
            state = state.kept(kept)
            live = [live[index] for index in going_on]
    return [record.result() for record in searches]


@dataclass(frozen=True)
class _Beams:
    """The beams after a step: totals [B, W] float32, parents [B, W] int64, history [B, W, t]
    int64, last token last.
    """

    totals: Tensor
    parents: Tensor
    history: Tensor

    @property
    def last(self) -> Tensor:
        """[B, W] newest token of each beam."""
        return self.history[..., -1]

    def kept(self, examples: Tensor) -> _Beams:
        """Only some of the examples."""
        return _Beams(self.totals[examples], self.parents[examples], self.history[examples])


def _next_beams(
    logits: Tensor, state: _Beams | None, step: int, settings: SearchSettings
) -> _Beams:
    """One step of the search over a batch.

    Args:
        logits: [B, W, V].
        state: The beams before the step, None at the first.
        step: Tokens each hypothesis already holds.
        settings: What to search for.
    """
    scores = logits.float().log_softmax(dim=-1)
    examples, _, vocabulary = scores.shape
    if state is not None and settings.ngram_size > 0:
        ignored = torch.tensor(settings.ignore_ids, dtype=torch.long, device=scores.device)
        scores = forbid_repeated_ngrams(scores, state.history, settings.ngram_size, ignored)
    if step < settings.min_length:
        scores = forbid_early_end(scores, settings.eos_id)
    best, tokens = scores.topk(min(settings.beam_size, vocabulary), dim=-1)  # [B, W, K]
    if state is not None:
        ended = (state.last == settings.eos_id).unsqueeze(-1)
        best = best + state.totals.unsqueeze(-1) + ended * FORBIDDEN
    flat = best.reshape(examples, -1)
    totals, picked = flat.topk(min(settings.beam_size, flat.shape[1]), dim=-1)  # [B, W']
    parents = picked // best.shape[-1]
    last = tokens.reshape(examples, -1).gather(1, picked)
    history = last.unsqueeze(-1)
    if state is not None:
        old = state.history.gather(1, parents.unsqueeze(-1).expand(-1, -1, step))
        history = torch.cat([old, history], dim=-1)
    return _Beams(totals, parents, history)


def _record(
    searches: list[_Record], live: Sequence[int], state: _Beams, step: int, settings: SearchSettings
) -> list[int]:
    """Write a step down; returns which of the live examples go on, by their index in the batch."""
    totals, parents, tokens = state.totals.tolist(), state.parents.tolist(), state.last.tolist()
    going_on = []
    for index, example in enumerate(live):
        record = searches[example]
        record.add(totals[index], tokens[index], parents[index])
        if step + 1 < settings.max_length and not record.is_decided():
            going_on.append(index)
    return going_on


class _Record:
    """The steps of one example's search, and what they are worth."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        self._trace = Trace()
        self._ended: list[bool] = []
        self._candidates: list[tuple[float, int, int]] = []  # score, step, beam

    def add(self, totals: list[float], tokens: list[int], parents: list[int]) -> None:
        """Write down the beams of one step."""
        eos_id, step = self._settings.eos_id, len(self._trace.ids)
        was_ended = [bool(self._ended) and self._ended[parent] for parent in parents]
        self._trace.scores.append(totals)
        self._trace.ids.append(tokens)
        self._trace.parents.append(parents)
        for beam, token in enumerate(tokens):
            if token == eos_id and not was_ended[beam]:
                self._candidates.append((self._ranked(totals[beam], step), step, beam))
        self._ended = [token == eos_id or was for token, was in zip(tokens, was_ended, strict=True)]

    def is_decided(self) -> bool:
        """Whether no later step can change the result.

        Totals only fall, so a live beam can at best reach its total over the largest divisor.
        """
        tokens = self._trace.ids[-1]
        live = [
            total
            for total, token in zip(self._trace.scores[-1], tokens, strict=True)
            if token != self._settings.eos_id
        ]
        if not live:
            return True
        if self._settings.keep_trace or len(self._candidates) < self._settings.num_return:
            return False
        divisor = length_divisor(self._settings.max_length, self._settings.length_penalty)
        worst_returned = sorted(score for score, _, _ in self._candidates)[
            -self._settings.num_return
        ]
        return worst_returned >= max(live) / divisor

    def result(self) -> SearchResult:
        """The best hypotheses, and the trace if it was asked for."""
        last = len(self._trace.ids) - 1
        candidates = list(self._candidates)
        for beam, token in enumerate(self._trace.ids[last]):
            if token != self._settings.eos_id and not self._ended[beam]:
                candidates.append((self._ranked(self._trace.scores[last][beam], last), last, beam))
        candidates.sort(key=lambda candidate: (-candidate[0], candidate[1], candidate[2]))
        hypotheses = [
            self._hypothesis(*candidate) for candidate in candidates[: self._settings.num_return]
        ]
        return SearchResult(hypotheses, self._trace if self._settings.keep_trace else None)

    def _ranked(self, total: float, step: int) -> float:
        """The score that hypotheses of this step are ranked by."""
        return total / length_divisor(step + 1, self._settings.length_penalty)

    def _hypothesis(self, score: float, step: int, beam: int) -> Hypothesis:
        """Follow the back-pointers of one entry."""
        finished = self._trace.ids[step][beam] == self._settings.eos_id
        total = self._trace.scores[step][beam]
        ids = []
        for earlier in range(step, -1, -1):
            ids.append(self._trace.ids[earlier][beam])
            beam = self._trace.parents[earlier][beam]
        ids.reverse()
        return Hypothesis(tuple(ids[:-1] if finished else ids), score, total, finished)
