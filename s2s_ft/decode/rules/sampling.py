"""Sampling: tokens are drawn instead of searched for, one hypothesis a beam.

Which tokens a draw is among is what transformers' temperature, top-k, top-p, min-p and typical
warpers leave over, in that order. The draw goes through them by number until their probability
exceeds a uniform number, which hangs on the seed, the request, the sample and the step alone
(`randomness`); so the batch and its order change nothing. (Gone through from the likeliest, two
that are as likely but for rounding, which hangs on the batch, would change places and the draw.)

Notable: totals are sums of the model's own log-probabilities, not of those that were drawn from.
Sorting a vocabulary takes longer than a step of a small model: on a CPU only as many tokens are
sorted as turn out to be enough.

Letters: B examples, W beams, W' samples an example, V vocabulary, M tokens that a draw is among at
most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_ft.decode.rules.randomness import stream, uniforms
from s2s_ft.decode.search.requests import FORBIDDEN, Choice, Progress, Request
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.transfer import sent

_WIDTHS = (256, 2048)  # tokens to sort, tried in turn before the whole vocabulary
_SPARE = 16  # tokens beyond top_k, so that those as likely as the last one are seen
_BLOCK = 128  # weights that are summed together when a draw looks for its place
_HOT = 10.0  # temperature from which on a forbidden token would have a chance


class Sampling:
    """Each beam goes on with a token of its own, drawn at random; a `Selection`."""

    def __init__(self, settings: SearchSettings, device: torch.device) -> None:
        """Take how to draw; `settings.beam_size` is the number of samples of a request."""
        self._settings = settings
        self._samples = torch.arange(settings.beam_size, device=device)
        self._streams = torch.zeros(0, dtype=torch.long, device=device)

    def admit(self, slots: Sequence[int], requests: Sequence[Request]) -> None:
        """Give each request that enters the batch its random numbers."""
        missing = max(slots) + 1 - len(self._streams)
        if missing > 0:
            self._streams = F.pad(self._streams, (0, missing))
        streams = [stream(self._settings.seed, request.key) for request in requests]
        both = sent(torch.tensor([[*slots], streams]), self._streams.device)
        self._streams.index_copy_(0, both[0], both[1])

    def __call__(self, scores: Tensor, progress: Progress) -> Choice:
        """Draw the next tokens.

        Args:
            scores: [B, W, V] float32 log-probabilities.
            progress: The samples so far.

        Returns:
            The samples in their order, each its own parent; at the first step all have parent 0.
            One that has ended goes on with end tokens and lowered totals.
        """
        samples, (examples, beams, _) = len(self._samples), scores.shape
        numbers = uniforms(
            self._streams[progress.slots][:, None], self._samples, progress.steps[:, None]
        )  # [B, W']
        leftovers = warp(scores, self._settings)
        drawn = leftovers.draw(numbers.view(examples, beams, -1))  # [B, W, W' / W]
        totals = progress.totals.unsqueeze(-1) + scores.gather(-1, drawn)
        ended = (progress.last == self._settings.eos_id).unsqueeze(-1)
        own = torch.arange(samples, device=scores.device) * beams // samples
        return Choice(
            totals=(totals + ended * FORBIDDEN).flatten(1),
            parents=own.expand(examples, -1),
            tokens=torch.where(ended, self._settings.eos_id, drawn).flatten(1),
        )


@dataclass(frozen=True)
class Leftovers:
    """What a draw is among.

    Attributes:
        weights: [B, W, M] float32 probabilities up to a common factor, 0 for what is left out.
        tokens: [B, W, M] int64, ascending; None = all tokens.
    """

    weights: Tensor
    tokens: Tensor | None

    def draw(self, numbers: Tensor) -> Tensor:
        """The tokens at which the summed weights exceed these shares of the whole.

        Args:
            numbers: [B, W, D] float64 in [0, 1).

        Returns:
            [B, W, D] int64.
        """
        missing = -self.weights.shape[-1] % _BLOCK
        blocks = F.pad(self.weights, (0, missing)).reshape(*self.weights.shape[:-1], -1, _BLOCK)
        sums = blocks.sum(-1).cumsum(-1, dtype=torch.float64)
        wanted = numbers * sums[..., -1:]
        block = torch.searchsorted(sums, wanted, right=True).clamp(max=sums.shape[-1] - 1)
        # The same within the block: what the blocks before it hold is taken off first.
        before = F.pad(sums, (1, 0)).gather(-1, block)
        index = block.unsqueeze(-1).expand(*block.shape, _BLOCK)
        inside = blocks.gather(-2, index).cumsum(-1, dtype=torch.float64)  # [B, W, D, _BLOCK]
        place = torch.searchsorted(inside, (wanted - before).unsqueeze(-1), right=True).squeeze(-1)
        # Rounding may find a number beyond all weights; the last token that has one is meant.
        last = (inside < inside[..., -1:]).sum(-1)
        places = block * _BLOCK + place.minimum(last)
        return places if self.tokens is None else self.tokens.gather(-1, places)


def warp(scores: Tensor, settings: SearchSettings) -> Leftovers:
    """What the settings leave over of a distribution.

    Args:
        scores: [B, W, V] float32 log-probabilities, up to a common summand.
        settings: Temperature, top_k, top_p, min_p and typical_p, applied in this order.

    Returns:
        Tokens and their weights.
    """
    scores = _tempered(scores, settings.temperature)
    values, tokens = _candidates(scores, settings)
    if 0 < settings.top_k < values.shape[-1]:
        values = values.where(values >= values[..., settings.top_k - 1, None], -torch.inf)
    is_all = tokens is None or settings.top_k > 0  # else some tokens that count are not among them
    whole = None if is_all else scores.logsumexp(-1, keepdim=True)
    weights = values.softmax(-1) if whole is None else (values - whole).exp()
    if settings.top_p < 1.0:
        shares = weights.double()
        weights = weights.where(shares.cumsum(-1) - shares < settings.top_p, 0.0)
    if settings.min_p > 0.0:
        weights = weights.where(weights >= settings.min_p * weights.amax(-1, keepdim=True), 0.0)
    if settings.typical_p < 1.0:
        left = values.where(weights > 0.0, -torch.inf)
        weights = weights.where(_are_typical(left, settings.typical_p), 0.0)
    if tokens is None:
        return Leftovers(weights, None)
    if tokens.shape[-1] == scores.shape[-1]:
        return Leftovers(torch.empty_like(weights).scatter_(-1, tokens, weights), None)
    tokens, order = tokens.sort(-1)
    return Leftovers(weights.gather(-1, order), tokens)


def _tempered(scores: Tensor, temperature: float) -> Tensor:
    """Scores over the temperature; what is forbidden stays so however hot it gets."""
    if temperature == 1.0:
        return scores
    if temperature > _HOT:
        allowed = scores > scores.amax(-1, keepdim=True) + FORBIDDEN / 2
        scores = scores.where(allowed, -torch.inf)
    return scores / temperature


def _candidates(scores: Tensor, settings: SearchSettings) -> tuple[Tensor, Tensor | None]:
    """Scores of the tokens that can be left over, likeliest first, and the tokens, [B, W, M] each;
    without top-k and top-p all scores as they are, and None.
    """
    top_k, vocabulary = settings.top_k, scores.shape[-1]
    if top_k == 0 and settings.top_p == 1.0:
        return scores, None
    widths = [top_k + _SPARE] if top_k > 0 else _WIDTHS
    for width in widths if scores.is_cpu else ():  # elsewhere a look would wait for the device
        if width >= vocabulary:
            break
        values, tokens = _likeliest(scores, width)
        if top_k > 0:
            enough = values[..., -1] < values[..., top_k - 1]
        else:
            mass = (values[..., :-1].logsumexp(-1) - scores.logsumexp(-1)).exp()
            enough = mass > settings.top_p
        if bool(enough.all()):
            return values, tokens
    return _likeliest(scores, vocabulary)


def _likeliest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Scores and tokens, likeliest first and of equals the last first, so that the order does not
    depend on how many there are; [B, W, count] each.
    """
    if count == scores.shape[-1]:
        values, tokens = scores.sort(dim=-1, stable=True)
        return values.flip(-1), tokens.flip(-1)
    values, tokens = scores.topk(count, dim=-1, sorted=False)
    tokens, order = tokens.sort(dim=-1, descending=True)
    values, by_value = values.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    return values, tokens.gather(-1, by_value)


def _are_typical(values: Tensor, mass: float) -> Tensor:
    """Which tokens are nearest in information to what is expected, and together hold a share of the
    probability (Meister et al. 2022).

    Args:
        values: [B, W, M] float32 scores, minus infinity for what is left out already.
        mass: The share.

    Returns:
        [B, W, M] bool.
    """
    logarithms = values.log_softmax(-1)
    probabilities = logarithms.exp()
    entropy = -(logarithms * probabilities).nansum(-1, keepdim=True)
    distances = (-logarithms - entropy).abs()
    nearest, order = distances.sort(dim=-1)
    shares = probabilities.gather(-1, order).cumsum(-1)
    last = (shares < mass).sum(-1, keepdim=True).clamp(max=values.shape[-1] - 1)
    return distances <= nearest.gather(-1, last)
