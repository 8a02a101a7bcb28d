"""Constraints on the next token: rules that say which log-probabilities change.

Notable: a forbidden token gets `FORBIDDEN` rather than minus infinity, as in the original, so that
a beam whose every way on is forbidden still goes on instead of vanishing. Examples of one batch may
be at different steps, so every rule reads the end of each hypothesis (`newest_tokens`), never the
end of the history's columns. What must come next (`Wanting`) is exempt from n-gram blocking.

Letters: B examples, W beams, L columns of the history, V vocabulary, n size of an n-gram,
N forbidden sequences, H tokens of the longest of them but its last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from s2s_ft.decode.search.requests import FORBIDDEN, Edits, Progress
from s2s_ft.transfer import sent


class Wanting(Protocol):
    """Something that knows which tokens must come next."""

    def wanted(self, progress: Progress) -> Tensor | None:
        """[B, W, M] int64 tokens, -1 for none; None = none anywhere."""
        ...


def newest_tokens(progress: Progress, count: int) -> Tensor:
    """The last tokens of each hypothesis.

    Returns:
        [B, W, count] int64, newest last; -1 before a hypothesis begins.
    """
    history = progress.history
    if history.shape[-1] == 0:
        return history.new_full((*history.shape[:2], count), -1)
    back = torch.arange(-count, 0, device=history.device)
    columns = progress.steps[:, None, None] + back  # [B, 1, count]
    taken = history.gather(-1, columns.clamp(min=0).expand(-1, history.shape[1], -1))
    return torch.where(columns >= 0, taken, -1)


class EarlyEnd:
    """Before the minimum length, ending is the least likely choice."""

    def __init__(self, min_length: int, eos_id: int) -> None:
        """Take the tokens that must come before the end token."""
        self._min_length = min_length
        self._eos_id = eos_id

    def edits(self, progress: Progress) -> Edits:
        """`FORBIDDEN` takes the end token's place."""
        shape = (*progress.history.shape[:2], 1)
        early = progress.steps < self._min_length
        return Edits(
            tokens=progress.steps.new_full(shape, self._eos_id),
            amounts=(early * FORBIDDEN)[:, None, None].expand(shape),
            replace=True,
        )


class RepeatedNgrams:
    """No n-gram comes twice.

    With the tail being the last n - 1 tokens, each token that once followed the same tail is
    forbidden, unless the tail holds an ignored token or the token itself is ignored:

        history  a b c a b      n = 3: tail "a b", once followed by c, so c is forbidden
    """

    def __init__(
        self,
        size: int,
        ignored: Sequence[int],
        device: torch.device,
        *,
        exempt: Sequence[Wanting] = (),
    ) -> None:
        """Take the size of the n-grams and the tokens that do not count.

        Args:
            size: n, at least 1; with 1 no token may come twice.
            ignored: Tokens that never count.
            device: Where the search runs.
            exempt: What must come next is never forbidden.
        """
        self._size = size
        self._ignored = sent(torch.tensor(ignored, dtype=torch.long), device)
        self._exempt = exempt

    def edits(self, progress: Progress) -> Edits | None:
        """`FORBIDDEN` is added to what would repeat an n-gram."""
        size, history = self._size, progress.history
        if history.shape[-1] < size:
            return None
        windows = history.unfold(-1, size, 1)  # [B, W, L - n + 1, n]
        tail = newest_tokens(progress, size - 1)  # [B, W, n - 1]
        candidates = windows[..., -1]
        first = torch.arange(windows.shape[2], device=history.device)
        forbidden = (windows[..., :-1] == tail.unsqueeze(-2)).all(dim=-1)
        forbidden &= first <= (progress.steps - size)[:, None, None]
        if self._ignored.numel() > 0:
            forbidden &= ~torch.isin(tail, self._ignored).any(dim=-1, keepdim=True)
            forbidden &= ~torch.isin(candidates, self._ignored)
        for wanting in self._exempt:
            wanted = wanting.wanted(progress)
            if wanted is not None:
                forbidden &= (candidates.unsqueeze(-1) != wanted.unsqueeze(-2)).all(dim=-1)
        return Edits(tokens=candidates, amounts=forbidden * FORBIDDEN)


class BadWords:
    """Token sequences that never come; what transformers' NoBadWordsLogitsProcessor forbids.

    Every sequence but its last token is compared with the end of each hypothesis at once: shorter
    ones are filled up in front with -2, which stands for any token.
    """

    def __init__(
        self, sequences: Sequence[Sequence[int]], eos_id: int, device: torch.device
    ) -> None:
        """Take the sequences; the end token alone is left out, or nothing could ever end."""
        kept = [tuple(sequence) for sequence in sequences if tuple(sequence) != (eos_id,)]
        longest = max(map(len, kept), default=1)
        heads = [(-2,) * (longest - len(sequence)) + sequence[:-1] for sequence in kept]
        last = [sequence[-1] for sequence in kept]
        self._heads = sent(torch.tensor(heads, dtype=torch.long), device)  # [N, H]
        self._last = sent(torch.tensor(last, dtype=torch.long), device)

    def edits(self, progress: Progress) -> Edits | None:
        """`FORBIDDEN` is added to what would complete a sequence."""
        if self._last.numel() == 0:
            return None
        tail = newest_tokens(progress, self._heads.shape[1]).unsqueeze(-2)  # [B, W, 1, H]
        complete = ((tail == self._heads) | (self._heads == -2)).all(dim=-1)  # [B, W, N]
        return Edits(tokens=self._last.expand(complete.shape), amounts=complete * FORBIDDEN)


class RepetitionPenalty:
    """Tokens that a hypothesis holds get less likely (Keskar et al. 2019), as transformers'
    RepetitionPenaltyLogitsProcessor has it for log-probabilities; generated tokens only.
    """

    def __init__(self, penalty: float) -> None:
        """Take the factor on a log-probability."""
        self._penalty = penalty

    def __call__(self, scores: Tensor, progress: Progress) -> Tensor:
        """Multiply what the hypotheses hold.

        Args:
            scores: [B, W, V] float32 log-probabilities.
            progress: The hypotheses so far.

        Returns:
            [B, W, V] float32, a new tensor.
        """
        history = progress.history
        if history.shape[-1] == 0:
            return scores
        held = torch.arange(history.shape[-1], device=history.device)
        held = held < progress.steps[:, None, None]
        # Columns past the end repeat the first token, so that every column names a token to change.
        tokens = torch.where(held, history, history[..., :1])
        factors = torch.where(progress.steps > 0, self._penalty, 1.0)[:, None, None]
        return scores.scatter(-1, tokens, scores.gather(-1, tokens) * factors)
