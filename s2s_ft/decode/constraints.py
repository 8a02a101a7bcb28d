"""Constraints on the next token: log-probabilities in, log-probabilities out, on whatever device
they are.

Notable: a forbidden token gets `FORBIDDEN` rather than minus infinity, as in the original, so that
a beam whose every way on is forbidden still goes on instead of vanishing.

Letters: B examples, W beams, t tokens so far, V vocabulary, n size of an n-gram.
"""

from __future__ import annotations

import torch
from torch import Tensor

FORBIDDEN = -10000.0
"""Added to (n-grams) or put in place of (the end token) a log-probability."""


def forbid_early_end(log_probabilities: Tensor, eos_id: int) -> Tensor:
    """Make ending the least likely choice, for steps before the minimum length.

    Args:
        log_probabilities: [B, W, V] float.
        eos_id: The end token.

    Returns:
        A new tensor of the same shape.
    """
    result = log_probabilities.clone()
    result[..., eos_id] = FORBIDDEN
    return result


def repeated_ngrams(history: Tensor, size: int, ignored: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens that would complete an n-gram the hypothesis already holds.

    With the tail being the last n - 1 tokens, each token that once followed the same tail is
    forbidden, unless the tail holds an ignored token or the token itself is ignored:

        history  a b c a b      n = 3: tail "a b", once followed by c, so c is forbidden

    Args:
        history: [B, W, t] int64, the tokens of each hypothesis, source not included.
        size: n, at least 1; with 1 no token may come twice.
        ignored: [I] int64 tokens that never count.

    Returns:
        candidates [B, W, M] int64 tokens and forbidden [B, W, M] bool, M = max(t - n + 1, 0).
    """
    length = history.shape[-1]
    if length < size:
        empty = history[..., :0]
        return empty, empty.bool()
    windows = history.unfold(-1, size, 1)  # [B, W, M, n]
    tail = history[..., length - size + 1 :]  # [B, W, n - 1]
    candidates = windows[..., -1]
    forbidden = (windows[..., :-1] == tail.unsqueeze(-2)).all(dim=-1)
    if ignored.numel() > 0:
        forbidden &= ~torch.isin(tail, ignored).any(dim=-1, keepdim=True)
        forbidden &= ~torch.isin(candidates, ignored)
    return candidates, forbidden


def forbid_repeated_ngrams(
    log_probabilities: Tensor, history: Tensor, size: int, ignored: Tensor
) -> Tensor:
    """Lower every token that would repeat an n-gram by `FORBIDDEN`, once however often it would.

    Args:
        log_probabilities: [B, W, V] float.
        history: [B, W, t] int64.
        size: n.
        ignored: [I] int64.

    Returns:
        A new tensor of the same shape.
    """
    candidates, forbidden = repeated_ngrams(history, size, ignored)
    if candidates.shape[-1] == 0:
        return log_probabilities
    penalty = torch.zeros_like(log_probabilities)
    penalty.scatter_reduce_(
        -1, candidates, forbidden.to(penalty.dtype) * FORBIDDEN, reduce="amin", include_self=True
    )
    return log_probabilities + penalty
