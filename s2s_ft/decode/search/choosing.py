"""From the model's logits to the next beams: rules, then the choice.

Notable: where every rule is sparse and the choice is the usual one, no log-softmax over the
vocabulary is written out. A token's log-probability is its logit less the row's log-sum-exp, so
the few log-probabilities that rules change are changed in the logits, and only those of the best
tokens are ever computed; the best are looked for in the few blocks of the vocabulary that can hold
them. Either way gives the same beams.

Letters: B examples, W beams in, W' beams out, V vocabulary, K candidates a beam, M edits,
R = B * W.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2s_ft.decode.search.requests import (
    FORBIDDEN,
    AnyRule,
    Choice,
    Edits,
    OnDemand,
    Progress,
    Rule,
    Selection,
    SparseRule,
)

_BLOCK = 64
"""Vocabulary entries whose maximum is taken together when the best are looked for."""

_FAR_BELOW = -50.0
"""A logit from which the normaliser cannot be read off exactly enough."""

_PIECE = 4
"""Rows of logits that a CPU's cache holds."""


class Chooser:
    """Rules and a selection, applied to one step of a batch."""

    def __init__(
        self,
        rules: Sequence[AnyRule],
        selection: Selection | None,
        *,
        beam_size: int,
        eos_id: int,
    ) -> None:
        """Take the rules, in the order in which they apply, and the selection; None = the best."""
        self._rules = tuple(rules)
        self._selection = selection
        self._beam_size = beam_size
        self._eos_id = eos_id
        self._is_sparse = all(isinstance(rule, SparseRule) for rule in rules)

    def __call__(self, logits: Tensor, progress: Progress) -> Choice:
        """The next beams.

        Args:
            logits: [B, W, V] float32; changed in place.
            progress: The hypotheses so far.
        """
        selection = self._selection
        if isinstance(selection, OnDemand) and not selection.is_needed:
            selection = None
        if self._is_sparse and selection is None:
            best, tokens = self._best_of_logits(logits, progress)
            return _two_stage(
                best, tokens, progress, beam_size=self._beam_size, eos_id=self._eos_id
            )
        scores = logits.log_softmax(dim=-1)
        for rule in self._rules:
            scores = _changed(scores, rule, progress)
        if selection is not None:
            return selection(scores, progress)
        return best_beams(scores, progress, beam_size=self._beam_size, eos_id=self._eos_id)

    def _best_of_logits(self, logits: Tensor, progress: Progress) -> tuple[Tensor, Tensor]:
        """Log-probabilities and tokens of each beam's best, [B, W, K] each."""
        examples, beams, vocabulary = logits.shape
        rows = logits.view(examples * beams, vocabulary)
        normaliser = log_sum_exp(rows)
        for rule in self._rules:
            assert isinstance(rule, SparseRule)
            edits = rule.edits(progress)
            if edits is not None:
                _edit_rows(logits, edits, normaliser.view(examples, beams, 1))
        best, tokens = top_of_rows(rows, min(self._beam_size, vocabulary))
        best = best - normaliser
        return best.view(examples, beams, -1), tokens.view(examples, beams, -1)


def best_beams(scores: Tensor, progress: Progress, *, beam_size: int, eos_id: int) -> Choice:
    """The usual selection: the best tokens of each beam, and of all these the best beams; a beam
    that has ended carries `FORBIDDEN`.

    Args:
        scores: [B, W, V] float32 log-probabilities.
        progress: The hypotheses so far.
        beam_size: W'.
        eos_id: The end token.
    """
    best, tokens = scores.topk(min(beam_size, scores.shape[-1]), dim=-1)
    return _two_stage(best, tokens, progress, beam_size=beam_size, eos_id=eos_id)


def _two_stage(
    best: Tensor, tokens: Tensor, progress: Progress, *, beam_size: int, eos_id: int
) -> Choice:
    """The second stage of `best_beams`, from [B, W, K] candidates."""
    ended = (progress.last == eos_id).unsqueeze(-1)
    best = best + progress.totals.unsqueeze(-1) + ended * FORBIDDEN
    flat = best.flatten(1)
    totals, picked = flat.topk(min(beam_size, flat.shape[1]), dim=-1)
    parents = torch.div(picked, best.shape[-1], rounding_mode="floor")
    return Choice(totals, parents, tokens.flatten(1).gather(1, picked))


def log_sum_exp(rows: Tensor) -> Tensor:
    """[R, V] -> [R, 1].

    On a CPU read off torch's log-softmax, in half of the time of its log-sum-exp (it has a faster
    exponential), and in pieces that stay in the cache.
    """
    if rows.device.type != "cpu" or rows.dtype != torch.float32:
        return rows.logsumexp(dim=-1, keepdim=True)
    found = rows.new_empty(rows.shape[0], 1)
    scratch = rows.new_empty(_PIECE, rows.shape[1])
    for piece, result in zip(torch.split(rows, _PIECE), torch.split(found, _PIECE), strict=True):
        scores = torch.log_softmax(piece, dim=-1, out=scratch[: len(piece)])
        first = piece[:, :1]
        torch.sub(first, scores[:, :1], out=result)
        if not (first >= _FAR_BELOW).all():  # the difference would lose what is looked for
            torch.logsumexp(piece, dim=-1, keepdim=True, out=result)
    return found


def top_of_rows(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest entries of each row, as `rows.topk(count)`, found by way of block maxima.

    Args:
        rows: [R, V].
        count: At most V.

    Returns:
        Values and int64 indices, [R, count] each, largest first.
    """
    blocks = rows.shape[1] // _BLOCK
    if blocks < 4 * count:
        return rows.topk(count, dim=-1)
    whole = blocks * _BLOCK
    blocked = rows[:, :whole].view(-1, blocks, _BLOCK)
    chosen = blocked.amax(dim=-1).topk(count, dim=-1, sorted=False).indices  # [R, count]
    inside = torch.arange(_BLOCK, device=rows.device)
    index = (chosen.unsqueeze(-1) * _BLOCK + inside).flatten(1)
    if whole < rows.shape[1]:
        tail = torch.arange(whole, rows.shape[1], device=rows.device)
        index = torch.cat([index, tail.expand(rows.shape[0], -1)], dim=1)
    values, places = rows.gather(1, index).topk(count, dim=-1)
    return values, index.gather(1, places)


def _changed(scores: Tensor, rule: AnyRule, progress: Progress) -> Tensor:
    """Log-probabilities after one rule of either kind."""
    if isinstance(rule, SparseRule):
        edits = rule.edits(progress)
        return scores if edits is None else _edit_rows(scores.clone(), edits, None)
    dense: Rule = rule
    return dense(scores, progress)


def _edit_rows(scores: Tensor, edits: Edits, normaliser: Tensor | None) -> Tensor:
    """Change a few entries in place.

    Args:
        scores: [B, W, V], log-probabilities once `normaliser` is taken off.
        edits: What to change.
        normaliser: [B, W, 1], None = 0.
    """
    new = scores.gather(-1, edits.tokens) + edits.amounts
    if edits.replace:
        wanted = edits.amounts if normaliser is None else edits.amounts + normaliser
        new = torch.where(edits.amounts == 0.0, new, wanted)
    return scores.scatter_reduce_(-1, edits.tokens, new, reduce="amin")
