"""What goes wrong with one request is its own result; what nobody wants any more leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest

from s2s_ft.decode.search.beam_search import SearchResult, search
from s2s_ft.decode.search.isolation import IsWanted, isolated
from s2s_ft.decode.search.requests import MemoryTooSmall, NonFiniteScores, Request
from s2s_ft.decode.search.settings import SearchSettings
from tests.unit.decode.chain import EOS
from tests.unit.decode.markov import Markov, plan_of, random_tables, requests_of, run

SETTINGS = SearchSettings(beam_size=3, max_length=8, eos_id=EOS, num_return=3, length_penalty=0.7)
COUNT = 17
TABLES = random_tables(COUNT, 6, seed=3)
ALONE = run(TABLES, SETTINGS)
Search = Callable[[Iterable[Request | None], IsWanted], Iterator[tuple[Request, SearchResult]]]


def everybody(request: Request) -> bool:
    return True


def searching(
    bad: Iterable[int], begun: list[list[int]], *, lag: int = 0, batch: int = 4
) -> Search:
    """A search of `TABLES` in which the scores of some requests are no numbers; it notes which
    requests each of its runs took in."""
    tables = TABLES.clone()
    tables[list(bad)] = math.nan
    plan = plan_of(SETTINGS, tables.shape[-1], batch=batch, refill_share=0.0, lag=lag)

    def noted(requests: Iterable[Request | None]) -> Iterator[Request | None]:
        begun.append([])
        for request in requests:
            if request is not None:
                begun[-1].append(request.key)
            yield request

    def run_once(
        requests: Iterable[Request | None], is_wanted: IsWanted
    ) -> Iterator[tuple[Request, SearchResult]]:
        return search(Markov(tables), noted(requests), replace(plan, is_wanted=is_wanted))

    return run_once


@pytest.mark.parametrize("lag", [0, 3])
@pytest.mark.parametrize("bad", [(), (0,), (16,), (1, 2, 3, 8), range(COUNT)], ids=str)
def test_the_others_have_what_they_have_alone(bad: Iterable[int], lag: int) -> None:
    found = dict_of(isolated(searching(bad, [], lag=lag), requests_of(COUNT), everybody))
    assert sorted(found) == list(range(COUNT))
    for key, result in found.items():
        if key in bad:
            assert isinstance(result, NonFiniteScores)
            assert result.request.key == key
            assert result.__traceback__ is None
        else:
            assert result == ALONE[key]


def dict_of(found: Iterable[tuple[Request, object]]) -> dict[int, object]:
    pairs = [(request.key, result) for request, result in found]
    assert len(dict(pairs)) == len(pairs), "nothing comes twice"
    return dict(pairs)


def test_nobody_is_begun_anew_more_often_than_those_beside_it_fail() -> None:
    """Though there is always another bad request: those that were beside one are finished before
    anybody joins them."""
    begun: list[list[int]] = []
    bad = range(0, COUNT, 2)
    list(isolated(searching(bad, begun), requests_of(COUNT), everybody))
    times = [sum(key in each for each in begun) for key in range(COUNT)]
    assert max(times[key] for key in range(COUNT) if key not in bad) <= 1 + 4


def test_a_pause_among_requests_is_passed_on() -> None:
    """None says that nothing is there now; what is inside goes on, and a fault changes nothing."""
    came: list[int] = []

    def coming() -> Iterator[Request | None]:
        for request in requests_of(6):
            yield request
            while request.key not in came and request.key % 2:
                yield None

    for request, _ in isolated(searching((1, 4), []), coming(), everybody):
        came.append(request.key)
    assert sorted(came) == list(range(6))


def test_what_nobody_wants_leaves_without_a_result() -> None:
    gone: set[int] = set()
    found: dict[int, object] = {}

    def coming() -> Iterator[Request | None]:
        for request in requests_of(COUNT):
            yield request
            if request.key % 3 == 2:
                yield None
                gone.update({request.key} - found.keys())

    def is_wanted(request: Request) -> bool:
        return request.key not in gone

    for request, result in isolated(searching((4, 5, 6), []), coming(), is_wanted):
        found[request.key] = result
    assert len(gone) > 2
    assert sorted(found) == sorted(set(range(COUNT)) - gone)
    assert all(found[key] == ALONE[key] for key in found if key not in (4, 5, 6))


def test_a_request_that_does_not_fit_alone_is_named_and_the_others_go_on() -> None:
    whole = searching((), [])

    def tight(
        requests: Iterable[Request | None], is_wanted: IsWanted
    ) -> Iterator[tuple[Request, SearchResult]]:
        for request in requests:
            assert request is not None
            if request.key == 2:
                raise MemoryTooSmall(request)
            yield from whole([request], is_wanted)

    found = dict_of(isolated(tight, requests_of(5), everybody))
    assert isinstance(found.pop(2), MemoryTooSmall)
    assert found == {key: ALONE[key] for key in (0, 1, 3, 4)}


def test_other_faults_are_everybodys() -> None:
    def broken(
        requests: Iterable[Request | None], is_wanted: IsWanted
    ) -> Iterator[tuple[Request, SearchResult]]:
        raise RuntimeError("the device is gone")
        yield

    with pytest.raises(RuntimeError, match="the device is gone"):
        list(isolated(broken, requests_of(2), everybody))
