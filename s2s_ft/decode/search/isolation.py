"""A search of requests that have nothing to do with each other: what goes wrong with one is its own
result, and the others never learn of it.

    requests that come and go:   a  b  c  d(scores are no numbers)    e  f …
    searched again, by themselves:         a  b  c                    then e  f … join as ever

Notable: a fault ends a search, with whatever was in its batch. Those that were beside it are
searched again before anybody else may join, so that each is begun anew at most as often as one of
them fails, however many bad requests come. Results do not depend on the batch, so it shows in
nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from s2s_ft.decode.search.hypotheses import SearchResult
from s2s_ft.decode.search.requests import MemoryTooSmall, NonFiniteScores, Request, RequestFault

IsWanted = Callable[[Request], bool]
Search = Callable[[Iterable[Request | None], IsWanted], Iterator[tuple[Request, SearchResult]]]
"""Searches requests, and drops those that are not wanted any more (see `session.generate`)."""


def isolated(
    search: Search, requests: Iterable[Request | None], is_wanted: IsWanted
) -> Iterator[tuple[Request, SearchResult | RequestFault]]:
    """Search requests; a fault of one comes in the place of its result.

    Args:
        search: Searches them, and raises at the first fault.
        requests: Pulled as room comes free; None among them = nothing waits right now.
        is_wanted: Asked of those in the batch before every step.

    Yields:
        Every request that stays wanted, once, in any order.

    Raises:
        Whatever else the search raises.
    """
    attempts = _Attempts(search, is_wanted)
    requests = iter(requests)
    while True:
        yield from attempts.of(attempts.noted(requests))
        if attempts.came_to_its_end:
            return
        while attempts.under_way:
            yield from attempts.of(list(attempts.under_way.values()))


class _Attempts:
    """Searches one after another, and what was given to them and has not come back.

    Attributes:
        under_way: By identity, as a request has no other name of its own.
        came_to_its_end: Whether the last search did.
    """

    def __init__(self, search: Search, is_wanted: IsWanted) -> None:
        self._search = search
        self._is_wanted = is_wanted
        self.under_way: dict[int, Request] = {}
        self.came_to_its_end = False

    def noted(self, requests: Iterator[Request | None]) -> Iterator[Request | None]:
        """Requests, noted when they are pulled."""
        for request in requests:
            if request is not None:
                self.under_way[id(request)] = request
            yield request

    def of(
        self, requests: Iterable[Request | None]
    ) -> Iterator[tuple[Request, SearchResult | RequestFault]]:
        """Results up to the first fault, and that."""
        self.came_to_its_end = False
        fault: RequestFault
        try:
            for request, result in self._search(requests, self._keeps):
                del self.under_way[id(request)]
                yield request, result
        except (NonFiniteScores, MemoryTooSmall) as raised:
            fault = raised
        else:
            self.under_way.clear()
            self.came_to_its_end = True
            return
        # What it was raised in holds the tensors of the search that is over.
        fault.__traceback__ = fault.__cause__ = fault.__context__ = None
        if self.under_way.pop(id(fault.request), None) is not None:
            yield fault.request, fault

    def _keeps(self, request: Request) -> bool:
        """Whether a request is wanted; one that is not will not come back."""
        is_wanted = self._is_wanted(request)
        if not is_wanted:
            self.under_way.pop(id(request), None)
        return is_wanted
