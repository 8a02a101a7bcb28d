"""Requests that wait for room: pulled one at a time, never ahead of need."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from s2s_ft.decode.search.requests import Budget, Request


class Waiting:
    """The requests of a run in the caller's order, those that come back in front."""

    def __init__(
        self, requests: Iterable[Request | None], budget: Budget, columns_per_target: int
    ) -> None:
        """Take the requests, unread.

        Args:
            requests: None among them says that nothing waits right now.
            budget: Of a batch.
            columns_per_target: Columns of keys that all beams' targets of one example may take.
        """
        self._requests: Iterator[Request | None] = iter(requests)
        self._head: deque[Request] = deque()
        self._budget = budget
        self._columns_per_target = columns_per_target
        self._has_ended = False
        self._has_paused = False

    @property
    def is_exhausted(self) -> bool:
        """Whether no request will ever come again."""
        return self._has_ended and not self._head

    @property
    def has_more(self) -> bool:
        """Whether another request is, or may be, there right now."""
        return bool(self._head) or not (self._has_ended or self._has_paused)

    def rest(self) -> Iterator[Request | None]:
        """All that has not been taken, for somebody else."""
        return chain(tuple(self._head), self._requests)

    def put_back(self, requests: Iterable[Request]) -> None:
        """They come first when requests are taken again."""
        self._head.extendleft(reversed(list(requests)))

    def take(self, num_live: int, longest_live: int) -> list[Request]:
        """As many requests as the budget allows beside those in the batch.

        Args:
            num_live: Examples in the batch.
            longest_live: Most source tokens of one of them.
        """
        taken: list[Request] = []
        self._has_paused = False
        longest = longest_live
        while num_live + len(taken) < self._budget.max_examples:
            request = self._next()
            if request is None:
                break
            longest = max(longest, len(request.source))
            size = num_live + len(taken) + 1
            if size > 1 and not self._fits(size, longest):
                self.put_back([request])
                break
            taken.append(request)
        return taken

    def _fits(self, num_examples: int, longest: int) -> bool:
        most = self._budget.max_tokens
        return most is None or num_examples * (longest + self._columns_per_target) <= most

    def _next(self) -> Request | None:
        if self._head:
            return self._head.popleft()
        if self._has_ended:
            return None
        try:
            request = next(self._requests)
        except StopIteration:
            self._has_ended = True
            return None
        self._has_paused = request is None
        return request
