"""How far hypotheses are with the phrases that they must hold.

Notable: nothing is carried from step to step. Which phrases a hypothesis holds, and how much of one
it ends with, is read off its tokens, so no re-ordering of beams can ever mix it up. Phrases may
overlap in the output: "a b" and "b c" are both in "a b c".

Letters: B examples, W beams, L columns of the history, N hypotheses an example, C phrases, T tokens
of the longest phrase.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_ft.decode.rules.words import holds
from s2s_ft.decode.search.requests import Progress


def num_missing(ids: Sequence[int], phrases: Sequence[Sequence[int]]) -> int:
    """How many of the phrases a finished output does not hold.

    Args:
        ids: Its tokens.
        phrases: As in `Request.phrases`.
    """
    return sum(not holds(ids, phrase) for phrase in phrases)


def held(progress: Progress, phrases: Tensor) -> Tensor:
    """Which phrases are in the hypotheses.

    Args:
        progress: The hypotheses so far.
        phrases: [B, C, T] int64, filled up with -1.

    Returns:
        [B, W, C] bool; a phrase without tokens is always held.
    """
    history, longest = progress.history, phrases.shape[-1]
    columns = history.shape[-1]
    behind = F.pad(history, (0, longest), value=-2)  # [B, W, L + T]
    begins = torch.ones((), dtype=torch.bool, device=history.device)
    for place in range(longest):
        tokens = behind[:, :, place : place + columns].unsqueeze(-1)  # [B, W, L, 1]
        wanted = phrases[:, None, None, :, place]  # [B, 1, 1, C]
        begins = begins & ((tokens == wanted) | (wanted < 0))  # [B, W, L, C]
    lengths = (phrases >= 0).sum(-1)
    first = torch.arange(columns, device=history.device)[:, None]
    in_time = first + lengths[:, None, :] <= progress.steps[:, None, None]  # [B, L, C]
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
