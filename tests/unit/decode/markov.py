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

EOS = 0


class Markov:
    """The next token's probabilities depend on the last token and the example: one table
    [V + 1, V] an example, row V for the start. A request's key is its table's number.

    Attributes:
        most_rows: Rows that the batch had at its largest.
    """

    def __init__(self, tables: Tensor) -> None:
        self.tables = tables.log()
        self.rows: list[int] = []
        self.most_rows = 0
        self.device = torch.device("cpu")

    def admit(self, requests: Sequence[Request], rows: Sequence[int]) -> Tensor:
        self.rows += [-1] * (max(rows) + 1 - len(self.rows))
        for row, request in zip(rows, requests, strict=True):
            self.rows[row] = request.key
        self.most_rows = max(self.most_rows, len(self.rows))
        return self.tables[[request.key for request in requests], -1].unsqueeze(1)

    def step(self, last: Tensor) -> Tensor:
        assert len(last) == len(self.rows)
        tables = self.tables[self.rows]
        return tables.gather(1, last.unsqueeze(-1).expand(-1, -1, tables.shape[2]))

    def reorder(self, parents: Tensor) -> None:
        pass

    def vacate(self, rows: Sequence[int]) -> None:
        pass

    def keep(self, rows: Sequence[int]) -> list[int]:
        order = [*reversed(rows)]
        self.rows = [self.rows[row] for row in order]
        return order


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
    rules, selection = rules_of(settings, torch.device("cpu"), vocabulary)
    return SearchPlan(settings, Budget(batch), rules, selection, **how)


def run(tables: Tensor, settings: SearchSettings, **how: Any) -> list[SearchResult]:
    """Search with every table; `how` as in `plan_of`."""
    plan = plan_of(settings, tables.shape[-1], **how)
    found = {
        request.key: result
        for request, result in search(Markov(tables), requests_of(len(tables)), plan)
    }
    return [found[key] for key in range(len(tables))]
