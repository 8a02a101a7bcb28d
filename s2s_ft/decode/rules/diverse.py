"""Diverse beam search (Vijayakumar et al. 2018): the beams are split into groups, and within a step
the groups choose one after another; a token costs its score less the penalty for each beam of the
groups before that chose it in this step.

Notable: at most all other beams are penalised, and a penalty only takes away, so the likeliest K
tokens of each beam are enough for every group; the vocabulary is looked through once.

Letters: B examples, W beams (1 at the first step), K beams after it, G groups, V vocabulary,
M = min(K, V) tokens of each beam that are looked at.
"""

from __future__ import annotations

import torch
from torch import Tensor

from s2s_ft.decode.search.beams import filled_up
from s2s_ft.decode.search.requests import FORBIDDEN, Choice, Progress
from s2s_ft.decode.search.settings import SearchSettings


class DiverseGroups:
    """A beam search within each group; a `Selection` whose beams stand group by group."""

    def __init__(self, settings: SearchSettings) -> None:
        """Take beams, groups and penalty; with one group it is plain beam search."""
        assert settings.beam_size % settings.num_groups == 0
        self._settings = settings
        self._size = settings.beam_size // settings.num_groups

    def __call__(self, scores: Tensor, progress: Progress) -> Choice:
        """Choose the next beams of all groups.

        Args:
            scores: [B, W, V] float32 log-probabilities.
            progress: The hypotheses so far.

        Returns:
            K beams an example, best first within each group. Totals hold the penalties.
        """
        ended = progress.last == self._settings.eos_id  # [B, W]
        best, tokens = scores.topk(min(self._settings.beam_size, scores.shape[-1]), dim=-1)
        best = best + (progress.totals + ended * FORBIDDEN).unsqueeze(-1)  # [B, W, M]
        chosen = tokens.new_empty((len(tokens), 0))
        groups = []
        for group in range(self._settings.num_groups):
            first = group * self._size if scores.shape[1] > 1 else 0
            beams = slice(first, first + self._size)
            choice = self._choose(best[:, beams], tokens[:, beams], chosen)
            parents = choice.parents + first
            # Where a whole group has ended its beams do so again, and that is no choice of theirs.
            was_ended = ended.gather(1, parents)
            again = choice.tokens.masked_fill(was_ended, self._settings.eos_id)
            groups.append(Choice(choice.totals, parents, again))
            chosen = torch.cat([chosen, choice.tokens.masked_fill(was_ended, -1)], dim=1)
        return Choice(
            torch.cat([group.totals for group in groups], dim=1),
            torch.cat([group.parents for group in groups], dim=1),
            torch.cat([group.tokens for group in groups], dim=1),
        )

    def _choose(self, totals: Tensor, tokens: Tensor, chosen: Tensor) -> Choice:
        """The next beams of one group.

        Args:
            totals: [B, K / G, M] float32 with each of the group's beams' next tokens (one beam at
                the first step).
            tokens: [B, K / G, M] int64.
            chosen: [B, C] int64 tokens that the groups before chose.

        Returns:
            [B, K / G] each; parents within the group.
        """
        if chosen.shape[1] > 0:
            times = (tokens.unsqueeze(-1) == chosen[:, None, None, :]).sum(-1)
            totals = totals - times * self._settings.diversity_penalty
        flat = totals.flatten(1)
        new_totals, picked = flat.topk(min(self._size, flat.shape[1]), dim=-1)
        parents = picked // tokens.shape[-1]
        return filled_up(
            Choice(new_totals, parents, tokens.flatten(1).gather(1, picked)),
            self._size,
            self._settings.eos_id,
        )
