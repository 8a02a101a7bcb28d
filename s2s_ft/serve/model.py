"""The server's model: a `Generator`, as a `Backend`.

Notable: texts of different requests are searched together, so their keys (on which only the random
numbers of samples hang) may repeat, and a request of the search says itself which text it is of.
What a client sends is only ever text: its words are looked up here, never taken for names of files,
as the flags of the command line may be.

torch is imported with this module; the server imports it on the model's thread.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from s2s_ft.decode.decoder import Decoder
from s2s_ft.decode.defaults import in_their_names
from s2s_ft.decode.device import make_ready, tell_place
from s2s_ft.decode.generator import Generator
from s2s_ft.decode.lines.rows import Row
from s2s_ft.decode.lines.sources import Item
from s2s_ft.decode.search.hypotheses import Hypothesis, SearchResult
from s2s_ft.decode.search.requests import MemoryTooSmall, NonFiniteScores, Request, RequestFault
from s2s_ft.serve.backend import Generated, ModelFault, Outcome, Output, Settings, Task, Work
from s2s_ft.serve.options import ServedModelOptions
from s2s_ft.text import TextCodec

NOTHING = Generated((Output("", None, None, 0, finished=True),))
"""What comes of an empty text."""

NO_NUMBERS = (
    "the model's scores are no numbers: the weights are damaged, or too large for --fp16 (try "
    "--bf16)"
)
KNOWN_SETTINGS = 64
"""Settings whose decoders are kept; making one takes a few milliseconds."""


@dataclass(frozen=True)
class _RequestOf(Request):
    """A request of the search that says which text it is of."""

    task: Task | None = None


class GeneratorBackend:
    """A checkpoint that decodes what the server hands it."""

    def __init__(self, generator: Generator, name: str) -> None:
        """Take a generator that nobody else uses, and what to call it."""
        self.name = name
        self._generator = generator
        self._decoder_of = lru_cache(KNOWN_SETTINGS)(self._new_decoder)

    @classmethod
    def load(cls, options: ServedModelOptions) -> GeneratorBackend:
        """Load the checkpoint, and run it once, so that the first request finds it warm.

        Raises:
            ValueError: it cannot be loaded, or the device has not got the number format.
        """
        generator = Generator.from_pretrained(
            options.model_path,
            device="cpu" if options.no_cuda else None,
            bf16=options.bf16,
            fp16=options.fp16,
            int8=options.int8,
            cache_dir=options.cache_dir,
        )
        make_ready(generator.device)
        tell_place(generator.device, options)
        backend = cls(generator, options.model_path)
        prepared = backend.prepare([Work("a", 0)], ())
        tasks = [Task(each) for each in prepared if not isinstance(each, Generated)]
        for _, outcome in backend.decode(tasks, (), 1):
            if isinstance(outcome, Exception):
                raise outcome
        return backend

    def prepare(self, works: Sequence[Work], settings: Settings) -> list[Any]:
        """Look up the tokens of a request's texts, and check them (see `Backend.prepare`)."""
        rows = [Row(work.text, work.key + 1, prefix=work.prefix) for work in works]
        try:
            items = self._decoder_of(settings).read(rows)
        except ValueError as fault:
            raise ValueError(_for_clients(str(fault))) from fault
        return [
            NOTHING if item.is_empty else replace(item, request=replace(item.request, key=work.key))
            for item, work in zip(items, works, strict=True)
        ]

    def decode(
        self, tasks: Iterable[Task | None], settings: Settings, size: int
    ) -> Iterator[tuple[Task, Outcome]]:
        """Decode texts that come and go (see `Backend.decode`)."""
        decoder = self._decoder_of(settings)
        # On a CPU a text costs the same whenever it comes in; a GPU would rather take in several.
        refill_share = 0.0 if self._generator.device.type == "cpu" else None
        # The caller says how many texts are decoded at a time, however long they are.
        budget = replace(
            decoder.budget, max_examples=size, max_tokens=None, refill_share=refill_share
        )
        decoder = replace(decoder, budget=budget)
        requests = (None if task is None else _request_of(task) for task in tasks)
        with decoder.at_work():
            for request, result in decoder.separate_results(requests, _is_wanted):
                task = _task_of(request)
                yield task, _outcome(decoder.fine_tuned.codec, task.prepared, result)

    def _new_decoder(self, settings: Settings) -> Decoder:
        """What decodes with the options of a call."""
        options: dict[str, Any] = dict(settings)
        return replace(self._generator.decoder(**options), name="text")


def _request_of(task: Task) -> _RequestOf:
    request = task.prepared.request
    return _RequestOf(request.key, request.source, request.prefix, request.phrases, task)


def _task_of(request: Request) -> Task:
    assert isinstance(request, _RequestOf)
    assert request.task is not None
    return request.task


def _is_wanted(request: Request) -> bool:
    return _task_of(request).is_wanted


def _outcome(codec: TextCodec, item: Item, result: SearchResult | RequestFault) -> Outcome:
    """What a text's search found, or what went wrong with it."""
    if isinstance(result, MemoryTooSmall):
        return ModelFault("the device's memory does not hold one text at a time")
    if isinstance(result, NonFiniteScores):
        return ModelFault(NO_NUMBERS)
    if not all(math.isfinite(each.score) for each in result.hypotheses):
        return ModelFault(NO_NUMBERS)
    outputs = tuple(_output(codec, each) for each in result.hypotheses)
    return Generated(outputs, truncated=item.is_cut)


def _for_clients(message: str) -> str:
    """What is said of flags and lines, in the words of a call."""
    message = re.sub(r"\btext, line (\d+): ", lambda found: f"text[{int(found[1]) - 1}]: ", message)
    return in_their_names(message).replace("--", "")


def _output(codec: TextCodec, found: Hypothesis) -> Output:
    return Output(
        codec.decode(found.ids),
        found.score,
        found.log_probability,
        len(found.ids),
        finished=found.finished,
    )
