"""Beam search whose outputs must hold phrases, by dynamic beam allocation (Post and Vilar 2018).

Hypotheses compete with those that are as far as they are: the candidates of a step are sorted into
banks by how many tokens of phrases they hold, and the beams are dealt to the banks in turn, fullest
first: the best of each bank, the second best of each, and so on until no beam is left. Candidates
are the likeliest tokens of every beam, the next token of each of its missing phrases and, where the
word that a phrase ends with could go on, the likeliest token with which it does not.

Notable: only a hypothesis that holds all its phrases may end, and a candidate after which they no
longer fit below the maximum length stands back behind all that leave room. Where they never fitted,
what misses least comes out, with `FORBIDDEN` in its total for each missing phrase. Examples without
phrases are searched as ever.

Letters: B examples, W beams (1 at the first step), K beams after it, C phrases, T tokens of the
longest, M tokens of each beam that are looked at, N = W * M candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s2s_ft.decode.rules.constraints import newest_tokens
from s2s_ft.decode.rules.forced import SlotTable
from s2s_ft.decode.rules.phrases import WordEnds, begun, held
from s2s_ft.decode.search.beams import ABSENT
from s2s_ft.decode.search.requests import FORBIDDEN, Choice, Progress, Request
from s2s_ft.decode.search.settings import SearchSettings


class PhraseBeams:
    """Beam search with phrases; a `Selection`."""

    def __init__(self, settings: SearchSettings, device: torch.device) -> None:
        """Take beams, lengths, the end token and the marks of words."""
        self._settings = settings
        self._ends = WordEnds(settings.word_marks, device)
        self._table = SlotTable(device)

    @property
    def is_needed(self) -> bool:
        """Whether a request in the batch has phrases; if none has, the result is plain beam
        search's, which is faster.
        """
        return not self._table.is_empty

    def admit(self, slots: Sequence[int], requests: Sequence[Request]) -> None:
        """Take the phrases of requests that enter the batch."""
        self._table.fill(slots, [request.phrases for request in requests])

    def wanted(self, progress: Progress) -> Tensor | None:
        """The next token of each phrase that is missing.

        Returns:
            [B, W, C] int64, -1 where a phrase is held; None = no phrases anywhere.
        """
        if self._table.is_empty:
            return None
        phrases = self._table.rows(progress.slots)
        return _next_of(phrases, progress, held(progress, phrases, self._ends))

    def __call__(self, scores: Tensor, progress: Progress) -> Choice:
        """Choose the next beams.

        Args:
            scores: [B, W, V] float32 log-probabilities.
            progress: The hypotheses so far.

        Returns:
            K beams an example, best first.
        """
        phrases = (
            progress.slots.new_full((len(progress.slots), 1, 1), -1)
            if self._table.is_empty
            else self._table.rows(progress.slots)
        )
        settings = self._settings
        candidates = _candidates(scores, progress, phrases, settings, self._ends)
        lengths = (phrases >= 0).sum(-1)
        needed = candidates.needed(lengths)
        left = settings.max_length - progress.steps - 1  # tokens that may still come
        short = (needed - left[:, None]).clamp(min=0)
        banks = phrases.shape[1] * phrases.shape[2] + 1
        picked = _dealt(candidates.totals, short, needed, (banks, settings.beam_size))
        missing = (~candidates.holds).sum(-1) * (left == 0)[:, None]
        totals = (candidates.totals + missing * FORBIDDEN).gather(1, picked)
        totals, best_first = totals.sort(dim=-1, descending=True, stable=True)
        picked = picked.gather(1, best_first)
        return Choice(totals, candidates.beams[picked], candidates.tokens.gather(1, picked))


@dataclass(frozen=True)
class _Candidates:
    """What the next beams are chosen from.

    Attributes:
        totals: [B, N] float32.
        tokens: [B, N] int64.
        beams: [N] int64 which beam each goes on from.
        holds: [B, N, C] bool which phrases each holds.
        begun: [B, N, C] int64 how many first tokens of each phrase it ends with.
    """

    totals: Tensor
    tokens: Tensor
    beams: Tensor
    holds: Tensor
    begun: Tensor

    def needed(self, lengths: Tensor) -> Tensor:
        """[B, N] int64 tokens that it takes to hold all phrases, each by itself, after the one that
        is under way; `lengths` [B, C].
        """
        missing = (lengths[:, None, :] * ~self.holds).sum(-1)
        return missing - (self.begun * ~self.holds).amax(-1)


def _candidates(
    scores: Tensor, progress: Progress, phrases: Tensor, settings: SearchSettings, ends: WordEnds
) -> _Candidates:
    """The likeliest tokens of each beam, the next ones of its phrases and one with which no word
    goes on, with what they lead to.

    Where a beam lacks phrases, its end token is forbidden; one more token than there are beams is
    looked at in its place.
    """
    now = held(progress, phrases, ends)  # [B, W, C]
    num_lacking = (~now).sum(-1, keepdim=True)
    extra = _next_of(phrases, progress, now)  # [B, W, C]
    loose = torch.zeros_like(now)  # held until the next token goes on with a word
    if ends.are_known:
        loose = now & ~held(progress, phrases, ends, for_good=True)
        every = torch.arange(scores.shape[-1], device=scores.device)
        unfit = ends.go_on(every) | ((every == settings.eos_id) & (num_lacking > 0))
        closing = scores.masked_fill(unfit, ABSENT).argmax(-1).masked_fill(~loose.any(-1), -1)
        extra = torch.cat([extra, closing.unsqueeze(-1)], dim=-1)  # [B, W, C + 1]
    best, likely = scores.topk(min(settings.beam_size + 1, scores.shape[-1]), dim=-1)
    extra_scores = scores.gather(-1, extra.clamp(min=0))
    extra_scores = extra_scores.masked_fill(_is_twice(extra, likely), ABSENT)
    tokens = torch.cat([likely, extra], dim=-1)  # [B, W, M]
    token_scores = torch.cat([best, extra_scores], dim=-1)
    too_early = (tokens == settings.eos_id) & (num_lacking > 0)
    token_scores = torch.where(too_early, FORBIDDEN * (num_lacking + 1), token_scores)
    ended = (progress.last == settings.eos_id).unsqueeze(-1)
    totals = progress.totals.unsqueeze(-1) + token_scores + ended * FORBIDDEN
    # Each candidate's last T tokens: its beam's last T - 1 and its own.
    before = newest_tokens(progress, phrases.shape[-1])[..., 1:]  # [B, W, T - 1]
    before = before.unsqueeze(2).expand(-1, -1, tokens.shape[-1], -1)
    tails = torch.cat([before, tokens.unsqueeze(-1)], dim=-1).flatten(1, 2)  # [B, N, T]
    progressed = begun(tails, phrases)
    lost = loose.unsqueeze(2) & ends.go_on(tokens).unsqueeze(-1)  # [B, W, M, C]
    still_held = (now.unsqueeze(2) & ~lost).flatten(1, 2)
    complete = progressed == (phrases >= 0).sum(-1)[:, None, :]
    return _Candidates(
        totals=totals.flatten(1),
        tokens=tokens.flatten(1).clamp(min=0),
        beams=torch.arange(scores.shape[1], device=scores.device).repeat_interleave(
            tokens.shape[-1]
        ),
        holds=still_held | complete,
        begun=progressed,
    )


def _next_of(phrases: Tensor, progress: Progress, now: Tensor) -> Tensor:
    """[B, W, C] int64 next token of each phrase [B, C, T] that is not held `now` [B, W, C], -1 for
    the others.
    """
    longest = phrases.shape[-1]
    places = begun(newest_tokens(progress, longest), phrases).clamp(max=longest - 1)
    beams = now.shape[1]
    tokens = phrases.unsqueeze(1).expand(-1, beams, -1, -1).gather(-1, places.unsqueeze(-1))
    return tokens.squeeze(-1).masked_fill(now, -1)


def _is_twice(extra: Tensor, likely: Tensor) -> Tensor:
    """Which of `extra` [B, W, C] is no token, or is among `likely` or those before it."""
    among = (extra.unsqueeze(-1) == likely.unsqueeze(-2)).any(-1)
    same = extra.unsqueeze(-1) == extra.unsqueeze(-2)  # [B, W, C, C]
    return (extra < 0) | among | same.tril(-1).any(-1)


def _dealt(totals: Tensor, short: Tensor, needed: Tensor, sizes: tuple[int, int]) -> Tensor:
    """Deal beams to candidates.

    Args:
        totals: [B, N] float32.
        short: [B, N] int64 tokens by which the phrases no longer fit.
        needed: [B, N] int64 tokens of phrases still to come: which bank a candidate is in.
        sizes: How many banks there are at most, and beams to deal.

    Returns:
        [B, min(beams, N)] int64 candidates, in the order dealt.
    """
    num_banks, num_beams = sizes
    # Those that the rules forbid, or that go on from an ended beam, are dealt to last of all.
    barred = totals < totals.amax(-1, keepdim=True) + FORBIDDEN / 2
    short = torch.where(barred, short.amax(-1, keepdim=True) + 1, short)
    order = totals.argsort(dim=-1, descending=True, stable=True)
    order = order.gather(-1, short.gather(-1, order).argsort(dim=-1, stable=True))
    short, needed = short.gather(-1, order), needed.gather(-1, order)
    banks = torch.arange(num_banks, device=totals.device)
    so_far = (needed.unsqueeze(-1) == banks).cumsum(-2)  # [B, N, banks]
    rank = so_far.gather(-1, needed.unsqueeze(-1)).squeeze(-1)  # from 1: the place in its bank
    key = (short * (totals.shape[-1] + 1) + rank) * num_banks + needed
    dealt = key.argsort(dim=-1)[:, :num_beams]
    return order.gather(-1, dealt)
