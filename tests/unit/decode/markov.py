"""A Markov chain as the model of a search: small enough for brute force."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2s_ft.decode.rules.assembly import rules_of
from s2s_ft.decode.search.beam_search import SearchPlan, SearchResult, search
from s2s_ft.decode.search.requests import Budget, Request
from s2s_ft.decode.search.settings import SearchSettings
from tests.unit.decode.chain import CPU, MOST_PLACES, Chain


class Markov(Chain):
    """A chain in which places do not count: one table [V + 1, V] of probabilities an example.

    Attributes:
        most_rows: Rows that the batch had at its largest.
    """

    def __init__(self, tables: Tensor) -> None:
        super().__init__(tables.log()[:, None].expand(-1, MOST_PLACES, -1, -1))
        self.most_rows = 0

    def admit(self, requests: Sequence[Request], rows: Sequence[int]) -> Tensor:
        first = super().admit(requests, rows)
        self.most_rows = max(self.most_rows, len(self.rows))
        return first


def random_tables(examples: int, vocabulary: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(examples, vocabulary + 1, vocabulary, generator=generator).mul(1.5).softmax(-1)
    )


def requests_of(count: int) -> list[Request]:
    return [Request(key, np.zeros(1, dtype=np.int64)) for key in range(count)]


def plan_of(
    settings: SearchSettings, vocabulary: int, *, batch: int = 1000, **how: Any
) -> SearchPlan:
    """A plan with the settings' own rules; `how` as in `SearchPlan`."""
    rules, selection = rules_of(settings, CPU, vocabulary)
    return SearchPlan(settings, Budget(batch), rules, selection, **how)


def run(tables: Tensor, settings: SearchSettings, **how: Any) -> list[SearchResult]:
    """Search with every table; `how` as in `plan_of`."""
    plan = plan_of(settings, tables.shape[-1], **how)
    found = {
        request.key: result
        for request, result in search(Markov(tables), requests_of(len(tables)), plan)
    }
    return [found[key] for key in range(len(tables))]
