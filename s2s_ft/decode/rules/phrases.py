"""How far hypotheses are with the phrases that they must hold.

Notable: nothing is carried from step to step. Which phrases a hypothesis holds, and how much of one
it ends with, is read off its tokens, so no re-ordering of beams can ever mix it up. Phrases may
overlap in the output: "a b" and "b c" are both in "a b c". A phrase is not held where the word
that it ends with goes on (`install ##er`); at the end of a hypothesis it is, until that happens.

Letters: B examples, W beams, L columns of the history, N hypotheses an example, C phrases, T tokens
of the longest phrase.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_ft.decode.rules.words import holds
from s2s_ft.decode.search.requests import Progress
from s2s_ft.text import NO_MARKS, WordMarks
from s2s_ft.transfer import sent


class WordEnds:
    """The marks of words, on a device."""

    def __init__(self, marks: WordMarks, device: torch.device) -> None:
        """Take the tokens; without any, words never go on."""
        self.are_known = bool(marks.open and marks.continuing)
        self._open, self._continuing = (
            sent(_membership(ids), device) for ids in (marks.open, marks.continuing)
        )

    def are_open(self, tokens: Tensor) -> Tensor:
        """After which tokens, int64, a word can go on; after none where they are negative."""
        return self._open[(tokens + 1).clamp(0, len(self._open) - 1)]

    def go_on(self, tokens: Tensor) -> Tensor:
        """Which tokens, int64, go on with a word; negative ones do not."""
        return self._continuing[(tokens + 1).clamp(0, len(self._continuing) - 1)]


def _membership(ids: Collection[int]) -> Tensor:
    """A table of bools: of -1, of each token, and of all beyond the last that is in it."""
    table = torch.zeros(max(ids, default=-1) + 3, dtype=torch.bool)
    table[torch.tensor(sorted(ids), dtype=torch.long) + 1] = True
    return table


def num_missing(
    ids: Sequence[int], phrases: Sequence[Sequence[int]], marks: WordMarks = NO_MARKS
) -> int:
    """How many of the phrases a finished output does not hold.

    Args:
        ids: Its tokens.
        phrases: As in `Request.phrases`.
        marks: Where words go on.
    """
    return sum(not holds(ids, phrase, marks) for phrase in phrases)


def held(progress: Progress, phrases: Tensor, ends: WordEnds, *, for_good: bool = False) -> Tensor:
    """Which phrases are in the hypotheses.

    Args:
        progress: The hypotheses so far.
        phrases: [B, C, T] int64, filled up with -1.
        ends: Where words go on.
        for_good: Leave out those that the next token could still make a longer word of.

    Returns:
        [B, W, C] bool; a phrase without tokens is always held.
    """
    history, longest = progress.history, phrases.shape[-1] + 1
    columns = history.shape[-1]
    phrases = F.pad(phrases, (0, 1), value=-1)  # [B, C, T + 1]
    behind = F.pad(history, (0, longest), value=-2)  # [B, W, L + T + 1]
    lengths = (phrases >= 0).sum(-1)
    last = phrases.gather(-1, (lengths - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
    is_open = ends.are_open(last)  # [B, C]
    begins = torch.ones((), dtype=torch.bool, device=history.device)
    for place in range(longest):
        tokens = behind[:, :, place : place + columns].unsqueeze(-1)  # [B, W, L, 1]
        wanted = phrases[:, None, None, :, place]  # [B, 1, 1, C]
        begins = begins & ((tokens == wanted) | (wanted < 0))  # [B, W, L, C]
        if ends.are_known:
            barred = is_open & (lengths == place)
            begins = begins & ~(barred[:, None, None] & ends.go_on(tokens))
    first = torch.arange(columns, device=history.device)[:, None]
    needed = lengths + is_open if for_good else lengths
    in_time = first + needed[:, None, :] <= progress.steps[:, None, None]  # [B, L, C]
    return (begins & in_time.unsqueeze(1)).any(2) | (lengths == 0)[:, None, :]


def begun(tails: Tensor, phrases: Tensor) -> Tensor:
    """How many first tokens of each phrase the hypotheses end with, at most.

    Args:
        tails: [B, N, T] int64 last tokens, newest last.
        phrases: [B, C, T] int64, filled up with -1.

    Returns:
        [B, N, C] int64; the whole phrase counts too.
    """
    longest = phrases.shape[-1]
    most = torch.zeros_like(phrases[:, None, :, 0])  # [B, 1, C], then [B, N, C]
    for size in range(1, longest + 1):
        ends = tails[:, :, None, longest - size :] == phrases[:, None, :, :size]
        most = torch.where(ends.all(-1), size, most)  # the -1 behind a phrase equals no token
    return most
