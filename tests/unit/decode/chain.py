"""A Markov chain as the model of a search, and all its outputs, written out one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from s2s_ft.decode.rules.assembly import rules_of
from s2s_ft.decode.search.beam_search import SearchPlan, SearchResult, search
from s2s_ft.decode.search.hypotheses import ranked
from s2s_ft.decode.search.requests import FORBIDDEN, Budget, Progress, Request
from s2s_ft.decode.search.settings import SearchSettings

EOS = 0
CPU = torch.device("cpu")
MOST_PLACES = 24

Ids = tuple[int, ...]
TokenScore = Callable[[Ids, int, float], float]
"""Given the tokens before, the token and its log-probability: what a rule makes of it."""


class Chain:
    """The next token depends on the last one, on its place and on the request: tables [T, V + 1, V]
    of log-probabilities, row V for the first token; a request's key is its tables' number. Places
    count, so that hardly any two outputs have one score.
    """

    device = CPU

    def __init__(self, tables: Tensor) -> None:
        self.tables = tables
        self.rows: list[tuple[int, int]] = []  # whose tables, which place comes next

    def admit(self, requests: Sequence[Request], rows: Sequence[int]) -> Tensor:
        self.rows += [(0, 0)] * (max(rows) + 1 - len(self.rows))
        for row, request in zip(rows, requests, strict=True):
            self.rows[row] = (request.key, 1)
        return self.tables[[request.key for request in requests], 0, -1].unsqueeze(1)

    def step(self, last: Tensor) -> Tensor:
        assert len(last) == len(self.rows)
        keys, places = zip(*self.rows, strict=True)
        tables = self.tables[list(keys), [min(place, MOST_PLACES - 1) for place in places]]
        self.rows = [(key, place + 1) for key, place in self.rows]
        return tables.gather(1, last.unsqueeze(-1).expand(-1, -1, tables.shape[2])).clone()

    def reorder(self, parents: Tensor) -> None:
        """A chain remembers nothing."""

    def vacate(self, rows: Sequence[int]) -> None:
        """Nor does a row."""

    def keep(self, rows: Sequence[int]) -> list[int]:
        order = [*reversed(rows)]
        self.rows = [self.rows[row] for row in order]
        return order


def random_tables(examples: int, vocabulary: int, seed: int, spread: float = 1.5) -> Tensor:
    """[E, T, V + 1, V] log-probabilities."""
    generator = torch.Generator().manual_seed(seed)
    shape = (examples, MOST_PLACES, vocabulary + 1, vocabulary)
    return (torch.randn(shape, generator=generator) * spread).log_softmax(-1)


def request(key: int, prefix: Ids = (), phrases: tuple[Ids, ...] = ()) -> Request:
    return Request(key, np.zeros(1, dtype=np.int64), prefix, phrases)


def find(
    tables: Tensor,
    settings: SearchSettings,
    requests: Sequence[Request] | None = None,
    *,
    batch: int | None = None,
) -> dict[int, SearchResult]:
    """Search with every table, `batch` examples at once; results by the requests' keys."""
    if requests is None:
        requests = [request(key) for key in range(len(tables))]
    rules, selection = rules_of(settings, CPU, tables.shape[-1])
    plan = SearchPlan(settings, Budget(batch or len(requests)), rules, selection)
    return {each.key: result for each, result in search(Chain(tables), requests, plan)}


def outputs(vocabulary: int, max_length: int) -> Iterator[Ids]:
    """Every output: those that end with the end token, and those that are cut."""
    others = [token for token in range(vocabulary) if token != EOS]
    for length in range(1, max_length + 1):
        for body in itertools.product(others, repeat=length - 1):
            yield (*body, EOS)
            if length == max_length:
                yield from ((*body, last) for last in others)


def brute_force(
    table: Tensor,
    settings: SearchSettings,
    token_score: TokenScore = lambda before, token, score: score,
    output_score: Callable[[Ids], float] = lambda ids: 0.0,
) -> list[tuple[Ids, float]]:
    """Every output that nothing forbids, without its end token, and its score; best first."""
    log = table.tolist()
    found = []
    for ids in outputs(table.shape[-1], settings.max_length):
        total, body = output_score(ids), ids[:-1] if ids[-1] == EOS else ids
        for place, token in enumerate(ids):
            previous = ids[place - 1] if place else -1
            early = token == EOS and place < settings.min_length
            score = token_score(ids[:place], token, log[place][previous][token])
            total += FORBIDDEN if early else score
        if total > FORBIDDEN / 2:
            found.append((body, ranked(total, len(ids), settings)))
    return sorted(found, key=lambda pair: -pair[1])


def is_same(one: dict[int, SearchResult], other: dict[int, SearchResult]) -> bool:
    """Whether results are the same but for the rounding of sums."""
    return one.keys() == other.keys() and all(
        [each.ids for each in one[key].hypotheses] == [each.ids for each in other[key].hypotheses]
        and [each.score for each in one[key].hypotheses]
        == pytest.approx([each.score for each in other[key].hypotheses], abs=1e-5)
        for key in one
    )


def pairs(result: SearchResult) -> list[tuple[Ids, float]]:
    """Outputs and scores of a search, those left out that something forbids."""
    return [
        (hypothesis.ids, hypothesis.score)
        for hypothesis in result.hypotheses
        if hypothesis.log_probability > FORBIDDEN / 2
    ]


def progress_of(histories: Sequence[Sequence[Sequence[int]]], **others: Any) -> Progress:
    """A batch of hypotheses, those of one example equally long; filled up with the end token."""
    longest = max(len(ids) for example in histories for ids in example)
    filled = [[[*ids, *[EOS] * (longest - len(ids))] for ids in example] for example in histories]
    values: dict[str, Any] = {
        "history": torch.tensor(filled, dtype=torch.long).view(
            len(histories), len(histories[0]), longest
        ),
        "steps": torch.tensor([len(example[0]) for example in histories]),
        "totals": torch.zeros(len(histories), len(histories[0])),
        "slots": torch.arange(len(histories)),
    }
    return Progress(**{**values, **others})
