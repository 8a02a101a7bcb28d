"""Beam search as a pure function over a step function: it knows arrays, not models. Greedy search
is a beam of 1.

Notable: the rules are the original's (see `search`), so its hypotheses and traces come back. The
stop rule is exact, so an example leaves as soon as none of its live beams can still win; which
examples are in the batch beside it, when it came, and how late it is known to be decided change
nothing (`beams.py` keeps the books, on the device). Waiting requests take free places: they are
encoded together, take their first step by themselves and join the running batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from s2s_ft.decode.search.beams import NOT_FINITE, Beams, Record
from s2s_ft.decode.search.choosing import Chooser
from s2s_ft.decode.search.hypotheses import Hypothesis as Hypothesis
from s2s_ft.decode.search.hypotheses import SearchResult as SearchResult
from s2s_ft.decode.search.hypotheses import read_off
from s2s_ft.decode.search.plan import SearchPlan as SearchPlan
from s2s_ft.decode.search.plan import Stepper as Stepper
from s2s_ft.decode.search.polling import StatusPoll
from s2s_ft.decode.search.requests import Admitting, NonFiniteScores, Request
from s2s_ft.decode.search.settings import SearchSettings as SearchSettings
from s2s_ft.decode.search.waiting import Waiting
from s2s_ft.transfer import sent


def search(
    stepper: Stepper, requests: Iterable[Request | None], plan: SearchPlan
) -> Iterator[tuple[Request, SearchResult]]:
    """Search the best outputs of requests, as many at once as the budget allows.

    Per step: log-softmax; rules; the top tokens of each beam, where a beam that has ended carries
    `FORBIDDEN`; the top beams of all these (or what the selection chooses). Candidates for the
    result are all entries that end with the end token, at any step, and all entries of the last
    step; the first best wins ties. The last step is the first one in which every beam has ended, or
    the maximum length.

    Args:
        stepper: The model, holding no example yet.
        requests: Pulled when there is room; None among them = nothing waits right now, go on with
            the others.
        plan: How to search.

    Returns:
        Requests and their results, as they are decided.

    Raises:
        NonFiniteScores: The model's scores for a request are not numbers.
    """
    return RunningBatch(stepper, requests, plan).run()


@dataclass(eq=False)
class _Example:
    """An example in the batch.

    Attributes:
        request: What it is.
        slot: Its row in the rules' tables.
        start: The step, counted over the whole run, that chose its first token.
        row: Where it sits; None once it has left.
    """

    request: Request
    slot: int
    start: int
    row: int | None


class RunningBatch:
    """The examples that are searched together. Every row holds one or is vacant."""

    def __init__(
        self, stepper: Stepper, requests: Iterable[Request | None], plan: SearchPlan
    ) -> None:
        """Take the model and the requests; see `search`."""
        settings = plan.settings
        self._stepper = stepper
        self._plan = plan
        self._waiting = Waiting(requests, plan.budget, settings.beam_size * settings.max_length)
        self._rows: list[_Example | None] = []
        self._size_when_filled = 0
        self._free_slots: list[int] = []
        self._num_slots = 0
        self._step = 0  # of the whole run; all examples take their steps together
        self._chooser = Chooser(
            plan.rules, plan.selection, beam_size=settings.beam_size, eos_id=settings.eos_id
        )
        self._beams: Beams | None = None
        self._record = Record(settings.max_length + 1, settings.beam_size, stepper.device)
        self._poll: StatusPoll[_Example | None] = StatusPoll(plan.lag)

    def run(self) -> Iterator[tuple[Request, SearchResult]]:
        """See `search`."""
        while True:
            with torch.inference_mode():
                self._dismiss()
                self._admit()
                decided = self._advance()
            yield from decided
            if not self._live() and self._waiting.is_exhausted:
                return

    @property
    def requests(self) -> list[Request]:
        """The requests in the batch."""
        return [example.request for example in self._live()]

    def unfinished(self) -> Iterator[Request | None]:
        """The requests in the batch and all those behind them."""
        return chain(self.requests, self._waiting.rest())

    def _live(self) -> list[_Example]:
        return [example for example in self._rows if example is not None]

    # -- coming ------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Let waiting requests in, if enough of the batch is free for it."""
        live = self._live()
        enough = max(1, math.ceil(self._plan.refill_share * self._size_when_filled))
        most = self._plan.budget.max_examples
        if live and (most - len(live) < enough or self._waiting.is_exhausted):
            return
        if self._plan.shrink_share == 0:  # newcomers find no gaps, so they stay together
            self._shrink()
        longest = max((len(example.request.source) for example in live), default=0)
        group = self._waiting.take(len(live), longest)
        if live and len(group) < enough and self._waiting.has_more:
            self._waiting.put_back(group)
        elif group:
            self._enter(group)

    def _enter(self, group: Sequence[Request]) -> None:
        """A group is encoded, and its first tokens are chosen."""
        device, settings = self._stepper.device, self._plan.settings
        # Examples of like length side by side are what the model's cache likes.
        group = sorted(group, key=lambda request: -len(request.source))
        rows = self._places(len(group))
        # All examples take step after step together: the newcomers' first token lies one step back.
        self._step = max(self._step, 1)
        slots = [self._free_slot() for _ in group]
        for row, slot, request in zip(rows, slots, group, strict=True):
            self._rows[row] = _Example(request, slot, self._step - 1, row)
        self._size_when_filled = len(self._live())
        for part in (*self._plan.rules, self._plan.selection):
            if isinstance(part, Admitting):
                part.admit(slots, group)
        logits = self._stepper.admit(group, rows)
        fresh = Beams.fresh(sent(torch.tensor(slots), device), settings)
        beams, choice = fresh.after(self._chooser(logits, fresh.progress()), settings)
        where = sent(torch.tensor(rows), device)
        self._record.grow(len(self._rows))
        self._record.write(self._step - 1, choice, where)
        size = len(self._rows)
        self._beams = beams if size == len(group) else self._joined(where, beams, size)
        self._poll.put(self._beams.status, self._rows)

    def _joined(self, rows: torch.Tensor, beams: Beams, size: int) -> Beams:
        assert self._beams is not None
        return self._beams.replaced(rows, beams, size)

    def _places(self, count: int) -> list[int]:
        """Rows for newcomers: vacant ones first, then new ones."""
        vacant = [row for row, example in enumerate(self._rows) if example is None][:count]
        new = range(len(self._rows), len(self._rows) + count - len(vacant))
        self._rows.extend(None for _ in new)
        return [*vacant, *new]

    def _free_slot(self) -> int:
        if self._free_slots:
            return self._free_slots.pop()
        self._num_slots += 1
        return self._num_slots - 1

    # -- going on ----------------------------------------------------------------------------------

    def _advance(self) -> list[tuple[Request, SearchResult]]:
        """Say goodbye to the decided examples, or else take one step of all the others."""
        decided = self._decided()
        if decided:
            return self._leave(decided)
        if self._live():
            self._shrink()
            assert self._beams is not None
            logits = self._stepper.step(self._beams.last)
            choice = self._chooser(logits, self._beams.progress())
            self._beams, choice = self._beams.after(choice, self._plan.settings)
            self._stepper.reorder(choice.parents)
            self._record.write(self._step, choice)
            self._step += 1
            self._poll.put(self._beams.status, self._rows)
        return []

    # -- leaving -----------------------------------------------------------------------------------

    def _dismiss(self) -> None:
        """Let those go that nobody waits for any more."""
        is_wanted = self._plan.is_wanted
        if is_wanted is not None:
            self._vacate([each for each in self._live() if not is_wanted(each.request)])

    def _vacate(self, examples: Sequence[_Example]) -> None:
        """The rows of examples become vacant."""
        rows = []
        for example in examples:
            assert example.row is not None
            rows.append(example.row)
            self._rows[example.row], example.row = None, None
            self._free_slots.append(example.slot)
        if rows:
            self._stepper.vacate(rows)

    def _decided(self) -> list[_Example]:
        """Examples known to be decided: by what the device says, or by their length."""
        known = {}
        for example, status in self._poll.get():
            if example is None or example.row is None:
                continue
            if status == NOT_FINITE:
                raise NonFiniteScores(example.request)
            known[example.row] = example
        for example in self._live():
            if self._step - example.start >= self._plan.settings.max_length:
                assert example.row is not None
                known[example.row] = example
        return [known[row] for row in sorted(known)]

    def _leave(self, decided: Sequence[_Example]) -> list[tuple[Request, SearchResult]]:
        """Read off what was found for some examples; their rows become vacant."""
        assert self._beams is not None
        rows = [example.row for example in decided if example.row is not None]
        index = sent(torch.tensor(rows), self._stepper.device)
        status, lengths = torch.stack([self._beams.status, self._beams.decided_at])[:, index].cpu()
        for example, state in zip(decided, status.tolist(), strict=True):
            if state == NOT_FINITE:
                raise NonFiniteScores(example.request)
        traces = self._record.traces(
            index, [example.start for example in decided], lengths.tolist()
        )
        self._vacate(decided)
        results = [read_off(trace, self._plan.settings) for trace in traces]
        return [(example.request, result) for example, result in zip(decided, results, strict=True)]

    def _shrink(self) -> None:
        """Let vacant rows go, if there are enough of them."""
        live, size = self._live(), len(self._rows)
        if len(live) == size or size - len(live) < self._plan.shrink_share * size:
            return
        order = self._stepper.keep([row for row, each in enumerate(self._rows) if each is not None])
        index = sent(torch.tensor(order, dtype=torch.long), self._stepper.device)
        assert self._beams is not None
        self._beams = self._beams.kept(index)
        self._record.keep(index)
        self._rows = [self._rows[row] for row in order]
        for row, example in enumerate(self._rows):
            assert example is not None
            example.row = row
