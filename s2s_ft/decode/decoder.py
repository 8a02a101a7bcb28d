"""A checkpoint together with all that a run wants of it: rows in, results or lines out.

Notable: results come as examples finish, in any order. A row without any token never meets the
model.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.defaults import in_names_of_the_call
from s2s_ft.decode.device import autocast
from s2s_ft.decode.lines.outputs import Line, Wording
from s2s_ft.decode.lines.rows import Row, name_of
from s2s_ft.decode.lines.sources import Item, Reading
from s2s_ft.decode.loading import FineTuned
from s2s_ft.decode.rules.phrases import num_missing
from s2s_ft.decode.rules.words import Sequences
from s2s_ft.decode.search.hypotheses import Hypothesis, SearchResult
from s2s_ft.decode.search.isolation import isolated
from s2s_ft.decode.search.requests import (
    Budget,
    MemoryTooSmall,
    NonFiniteScores,
    Request,
    RequestFault,
)
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.decode.session import generate
from s2s_ft.decode.wishes import (
    budget_of,
    fitting,
    flag_without_words,
    forced_words,
    listed_words,
    search_settings,
)
from s2s_ft.model.attention import without_cudnn
from s2s_ft.options import DecodeOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoder:
    """What turns items into lines.

    Attributes:
        fine_tuned: The checkpoint.
        options: All options of the run.
        settings: What is searched for.
        budget: How much at a time.
        force_words: What every output must hold.
        name: Of the input, for messages.
    """

    fine_tuned: FineTuned
    options: DecodeOptions
    settings: SearchSettings
    budget: Budget
    force_words: Sequences
    name: str

    @classmethod
    def of(
        cls, fine_tuned: FineTuned, options: DecodeOptions, device: torch.device | None = None
    ) -> Decoder:
        """The decoder of a run.

        Args:
            fine_tuned: The checkpoint.
            options: All options of the run, every flag of the search known.
            device: Where it will decode, if that is elsewhere than where the checkpoint is.

        Raises:
            ValueError: a word among the options is not in the vocabulary, or cannot be read, or no
                output has room for all that it must hold.
        """
        settings = search_settings(
            options, fine_tuned.codec, max_length=fine_tuned.method.max_target_length
        )
        return cls(
            fine_tuned,
            options,
            settings,
            budget_of(options.runtime, device or fine_tuned.device, beam_size=settings.beam_size),
            forced_words(options.search, fine_tuned.codec, max_length=settings.max_length),
            name_of(options.data.input_file),
        )

    def with_words(self, *, bad: Sequence[str] = (), forced: Sequence[str] = ()) -> Decoder:
        """The same decoder with further words, which are words whatever they look like.

        Args:
            bad: What must not come out.
            forced: What every output must hold.

        Raises:
            ValueError: the tokenizer cannot write a word, or no output has room for all of them.
        """
        bad_words, phrases = listed_words(
            self.fine_tuned.codec, bad=bad, forced=forced, max_length=self.settings.max_length
        )
        return replace(
            self,
            settings=replace(self.settings, bad_words=self.settings.bad_words + bad_words),
            force_words=self.force_words + phrases,
        )

    @property
    def reading(self) -> Reading:
        """How rows become items."""
        return Reading(
            self.fine_tuned.codec,
            self.fine_tuned.method,
            self.name,
            self.force_words,
            without_words=flag_without_words(self.options.search),
        )

    @property
    def wording(self) -> Wording:
        """How results become lines."""
        data = self.options.data
        return Wording(
            self.fine_tuned.codec,
            as_json=data.output_format == "jsonl",
            with_tokens=data.output_tokens,
            with_trace=data.need_score_traces,
        )

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Where `results` and `lines` are to be called: without gradients, in the number format of
        the run.
        """
        numbers = autocast(self.options.runtime, self.fine_tuned.device)
        with torch.inference_mode(), without_cudnn(), numbers:
            yield

    def lines(self, items: Iterable[Item | None]) -> Iterator[Line]:
        """The line of each item, in any order (see `results`)."""
        wording = self.wording
        for item, result in self.results(items):
            line = wording.line(item, result)
            yield replace(line, lacks_words=self.lacks_words(item, result))

    def lacks_words(self, item: Item, result: SearchResult) -> bool:
        """Whether the best output of an item does not hold all that it must."""
        return lacks_words(item.request, result.hypotheses, self.settings)

    def results(self, items: Iterable[Item | None]) -> Iterator[tuple[Item, SearchResult]]:
        """What is found for each item, in any order.

        Args:
            items: That have been checked (see `checked`); taken as there is room for them. None
                among them says that nothing is there right now: it ends them unless some are still
                being decoded.

        Raises:
            ValueError: an item gets scores that are no numbers.
        """
        taken: dict[int, Item] = {}
        empty: list[Item] = []
        found = self._search(_requests(items, taken, empty))
        try:
            for request, result in found:
                if not all(math.isfinite(each.score) for each in result.hypotheses):
                    raise NonFiniteScores(request)
                yield taken.pop(request.key), result
                yield from _without_tokens(empty)
        except NonFiniteScores as fault:
            raise self._named(taken[fault.request.key]) from fault
        except MemoryTooSmall as fault:
            raise EnvironmentFault(
                "the device's memory does not hold one row at a time: lower --beam_size, "
                "--max_seq_length or --max_tgt_length"
            ) from fault
        yield from _without_tokens(empty)

    def separate_results(
        self, requests: Iterable[Request | None], is_wanted: Callable[[Request], bool]
    ) -> Iterator[tuple[Request, SearchResult | RequestFault]]:
        """What is found for requests that come and go and have nothing to do with each other: what
        goes wrong with one comes in the place of its result (see `isolation.isolated`).

        Args:
            requests: With at least one source token each, and checked (see `checked`); pulled as
                there is room. None among them says that nothing is there right now.
            is_wanted: Asked of a request before every step; False = it leaves without a result.
        """
        return isolated(self._search, requests, is_wanted)

    def _search(
        self,
        requests: Iterable[Request | None],
        is_wanted: Callable[[Request], bool] | None = None,
    ) -> Iterator[tuple[Request, SearchResult]]:
        return generate(
            self.fine_tuned.model,
            self.fine_tuned.method,
            requests,
            self.settings,
            budget=self.budget,
            left_to_right_source=self.options.search.mode == "l2r",
            is_wanted=is_wanted,
        )

    def read(self, rows: Iterable[Row]) -> list[Item]:
        """The items of a few rows, which no output can fail to suit.

        Raises:
            ValueError: a row wants what no output can have; input and line are named.
        """
        return [item for item in self.checked(self.reading.items(rows)) if item is not None]

    def checked(self, items: Iterable[Item | None]) -> Iterator[Item | None]:
        """The items as they come.

        Raises:
            ValueError: an item wants what no output can have; input and line are named.
        """
        return fitting(items, self.settings, self.name)

    def _named(self, item: Item) -> ValueError:
        return ValueError(
            f"{self.name}, line {item.line}: gets scores that are no numbers; the weights of "
            "--model_path are damaged, or too large for --fp16 (try --bf16)"
        )


def lacks_words(request: Request, found: Sequence[Hypothesis], settings: SearchSettings) -> bool:
    """Whether the best output of a request does not hold all that it must."""
    phrases, marks = request.phrases, settings.word_marks
    return any(num_missing(each.ids, phrases, marks) > 0 for each in found[:1])


def tell_of_lacking_words(num_lacking: int) -> None:
    """Warn of outputs that lack forced words, if there are any."""
    if num_lacking:
        told = f"{num_lacking} outputs lack forced words, which had no room"
        logger.warning(in_names_of_the_call(f"{told}: raise --max_tgt_length"))


def _requests(
    items: Iterable[Item | None], taken: dict[int, Item], empty: list[Item]
) -> Iterator[Request | None]:
    """The requests of items that have tokens; the others are put aside."""
    for item in items:
        if item is None:
            if not taken:
                return
            yield None
        elif item.is_empty:
            empty.append(item)
        else:
            taken[item.index] = item
            yield item.request


def _without_tokens(empty: list[Item]) -> Iterator[tuple[Item, SearchResult]]:
    """What the items that were put aside get."""
    while empty:
        yield empty.pop(), SearchResult([], None)
