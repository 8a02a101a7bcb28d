"""Decoding with a model: requests in, hypotheses out. It joins the model's cache, the method's
question, the rules and the search, and searches again in smaller batches where memory runs out.

Letters: B examples, N examples that enter together, s source columns, W beams, Q rows a beam feeds,
V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.rules.assembly import rules_of
from s2s_ft.decode.search.beam_search import RunningBatch, SearchPlan, SearchResult, SearchSettings
from s2s_ft.decode.search.polling import MAX_LAG
from s2s_ft.decode.search.requests import AnyRule, Budget, MemoryTooSmall, Request, Selection
from s2s_ft.layout import IntArray
from s2s_ft.methods import Method
from s2s_ft.model.columns import CacheShape
from s2s_ft.model.memory import is_out_of_memory
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.transfer import sent

logger = logging.getLogger(__name__)


class ModelStepper:
    """The step function of a search over a model (see `plan.Stepper`)."""

    def __init__(
        self,
        model: Seq2SeqModel,
        method: Method,
        settings: SearchSettings,
        *,
        left_to_right: bool = False,
        compiled: bool = False,
    ) -> None:
        """Take the model, its method and the size of a search.

        Args:
            model: In evaluation mode.
            method: The method it was fine-tuned with.
            settings: How many beams, how many tokens.
            left_to_right: Let source tokens see only what stands before them.
            compiled: Keep shapes fixed and compile the step.
        """
        self._model = model
        self._method = method
        self._left_to_right = left_to_right
        self._cache = model.new_cache(
            CacheShape(
                num_beams=settings.beam_size,
                num_rows=method.question(torch.zeros(1, 1, dtype=torch.long), 1).shape[-1],
                num_steps=settings.max_length,
                fixed=compiled,
            )
        )
        self._compiled = compiled

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._model.device

    def admit(self, requests: Sequence[Request], rows: Sequence[int]) -> Tensor:
        """Encode sources and ask for their first tokens."""
        sources = [request.source for request in requests]
        size = max(map(len, sources))
        ids = torch.full((len(sources), size + 1), self._method.special.pad)
        for row, source in enumerate(sources):
            ids[row, size - len(source) : size] = torch.from_numpy(source)
        ids[:, size:] = self._method.question(None, len(sources))[:, 0]
        return self._model.encode(
            sent(ids, self.device),
            [len(source) for source in sources],
            self._cache,
            rows=rows,
            num_unkept=self._method.num_unkept,
            left_to_right=self._left_to_right,
        )

    def step(self, last: Tensor) -> Tensor:
        """Logits of the next token of every beam."""
        question = self._method.question(last, last.shape[0])
        return self._model.step(
            question,
            self._cache,
            num_unkept=self._method.num_unkept,
            compiled=self._compiled,
        )

    def reorder(self, parents: Tensor) -> None:
        """Beams go on from `parents`."""
        self._cache.reorder(parents)

    def vacate(self, rows: Sequence[int]) -> None:
        """Examples in these rows are decided."""
        self._cache.vacate(rows)

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Only these rows stay; returns their new order."""
        return self._cache.keep(rows)


def generate(  # noqa: PLR0913 (what to decode, how, and how much at once)
    model: Seq2SeqModel,
    method: Method,
    requests: Iterable[Request | None],
    settings: SearchSettings,
    *,
    budget: Budget,
    rules: Sequence[AnyRule] | None = None,
    left_to_right_source: bool = False,
    is_wanted: Callable[[Request], bool] | None = None,
) -> Iterator[tuple[Request, SearchResult]]:
    """Decode requests.

    Where memory does not hold a batch, the budget is halved and what is unfinished is searched
    again; nothing comes twice.

    Args:
        model: In evaluation mode.
        method: The method it was fine-tuned with.
        requests: Pulled lazily, in their order, as room comes free. None among them says that
            nothing waits right now: the examples in the batch go on meanwhile.
        settings: What to search for.
        budget: Limits of a batch.
        rules: Change what the model says of the next token, and the best beams are taken; None =
            the rules and the selection of the settings.
        left_to_right_source: Let source tokens see only what stands before them (`--mode l2r`).
        is_wanted: Asked of every request in the batch before every step; one that nobody wants any
            more leaves without a result. None = all are.

    Yields:
        Requests and their results, as examples are decided, in any order.

    Raises:
        NonFiniteScores: The scores of a request are not numbers.
        MemoryTooSmall: Memory does not even hold one example.
        EnvironmentFault: Nor what a search needs before there is any.
    """
    selection: Selection | None = None
    if rules is None:
        rules, selection = rules_of(settings, model.device, method.special.vocab_size)
    asked = SearchPlan(settings, budget, rules, selection, is_wanted=is_wanted)
    plan = _plan_on(model.device, asked)
    how = {"left_to_right": left_to_right_source, "compiled": budget.compile}
    new_stepper = partial(ModelStepper, model, method, settings, **how)
    while True:
        batch = _begun(new_stepper, requests, plan)
        try:
            yield from batch.run()
        except (RuntimeError, MemoryError) as fault:
            if not is_out_of_memory(fault) or not batch.requests:
                raise
            plan = _smaller(plan, batch)
            requests = batch.unfinished()
        else:
            return
        del batch
        if model.device.type == "cuda":
            torch.cuda.empty_cache()


def _begun(
    new_stepper: Callable[[], ModelStepper], requests: Iterable[Request | None], plan: SearchPlan
) -> RunningBatch:
    """A search with its tables laid out, whose size hangs on its settings alone.

    Raises:
        EnvironmentFault: Memory does not hold them.
    """
    try:
        return RunningBatch(new_stepper(), requests, plan)
    except (RuntimeError, MemoryError) as fault:
        if not is_out_of_memory(fault):
            raise
        settings = plan.settings
        raise EnvironmentFault(
            f"the device's memory does not hold a search with {settings.beam_size} beams and "
            f"{settings.max_length} tokens: lower --beam_size or --max_tgt_length"
        ) from fault


def _plan_on(device: torch.device, plan: SearchPlan) -> SearchPlan:
    """A plan with what suits a device: on a GPU the host must not wait for each step, and smaller
    batches are hardly faster; on a CPU every row costs.
    """
    on_gpu, budget = device.type == "cuda", plan.budget
    refill = 0.25 if on_gpu else 0.5
    return replace(
        plan,
        lag=MAX_LAG if on_gpu else 0,
        shrink_share=2.0 if budget.compile else (0.25 if on_gpu else 0.0),
        refill_share=refill if budget.refill_share is None else budget.refill_share,
    )


def _smaller(plan: SearchPlan, batch: RunningBatch) -> SearchPlan:
    """A plan with half the examples, and half the tokens where they are limited.

    Raises:
        MemoryTooSmall: The batch holds one example.
    """
    budget = plan.budget
    if budget.max_examples == 1:
        raise MemoryTooSmall(batch.requests[0])
    examples = max(1, budget.max_examples // 2)
    logger.warning("the memory does not hold the batch: going on with %d examples", examples)
    tokens = None if budget.max_tokens is None else budget.max_tokens // 2
    return replace(plan, budget=replace(budget, max_examples=examples, max_tokens=tokens))


def generate_batch(
    model: Seq2SeqModel,
    method: Method,
    sources: Sequence[IntArray],
    settings: SearchSettings,
    *,
    left_to_right_source: bool = False,
) -> list[SearchResult]:
    """Decode a few sources together.

    Args:
        model: In evaluation mode.
        method: The method it was fine-tuned with.
        sources: [S] int64 each, special tokens included, as `method.source` lays them out.
        settings: What to search for.
        left_to_right_source: Let source tokens see only what stands before them (`--mode l2r`).

    Returns:
        One result a source, in their order.
    """
    found = generate(
        model,
        method,
        [Request(number, source) for number, source in enumerate(sources)],
        settings,
        budget=Budget(max_examples=max(1, len(sources))),
        left_to_right_source=left_to_right_source,
    )
    results = {request.key: result for request, result in found}
    return [results[number] for number in range(len(sources))]
