"""The contestants of the decoding benchmark: this toolkit, with all of its techniques or some, the
plain search in the manner of the original (`original_search.py`), and peers (`decode_peers.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.decode_case import Case
from benchmarks.decode_peers import bart, ctranslate
from benchmarks.original_search import PlainSearch
from benchmarks.rounds import Round
from s2s_ft.decode.rules.assembly import rules_of
from s2s_ft.decode.search.beam_search import SearchResult
from s2s_ft.decode.search.requests import AnyRule, Budget, Progress, Request
from s2s_ft.decode.session import generate
from s2s_ft.layout import IntArray
from s2s_ft.model import cache
from s2s_ft.model.bucket import Bucket
from s2s_ft.model.int8 import quantize_linear_layers
from s2s_ft.model.memory import keep_freed_memory
from s2s_ft.model.packed import pack_linear_layers
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import TextCodec

OTHERS_BATCH = 16
"""Examples at once that suit all others: 32 cost the original's way 7 % of its speed and 64 23 %,
and peers up to a third."""


def texts_by_source(
    codec: TextCodec, sources: Sequence[IntArray], results: Sequence[SearchResult]
) -> list[tuple[bytes, list[int], str]]:
    """Ids and text found for each source, in an order that does not depend on the contestant's."""
    found = [
        (source.tobytes(), list(result.hypotheses[0].ids), codec.decode(result.hypotheses[0].ids))
        for source, result in zip(sources, results, strict=True)
    ]
    return sorted(found, key=lambda one: one[0])


def plain(
    case: Case, *, fast: bool = False, keep_projections: bool = False, share_source: bool = False
) -> Round:
    """The manner of the original (see `original_search.py`)."""
    if fast:
        keep_freed_memory()
        fast_float32_matmul()
    codec = TextCodec.load(case.model)
    model = load_finetuned(case.model).eval()
    sources, settings = case.sources(codec), case.settings(codec)
    method = case.method(codec)

    def run(count: int | None = None) -> dict[str, Any]:
        results: list[SearchResult] = []
        chosen = sources[:count]
        with torch.inference_mode():
            for start in range(0, len(chosen), case.batch):
                search = PlainSearch(model, method, settings, keep_projections, share_source)
                results += search.run(chosen[start : start + case.batch])
        return {"examples": len(chosen), "found": texts_by_source(codec, chosen, results)}

    run(2)
    return run


@dataclass(frozen=True)
class Techniques:
    """What of ours is in force; all of it unless said otherwise.

    Attributes:
        stop_early: Examples leave as soon as they are decided.
        join: Waiting examples take free places at once.
        ancestry: Beams go on from others without their keys and values being moved.
        dead_rows: Rows that nobody reads are left out of the last layer and the head.
        top_of_logits: No log-softmax over the vocabulary.
        packed: Weights in the order in which products read them.
        buckets: Examples share columns of keys with those of like length and arrival alone.
    """

    stop_early: bool = True
    join: bool = True
    ancestry: bool = True
    dead_rows: bool = True
    top_of_logits: bool = True
    packed: bool = True
    buckets: bool = True


def ours(
    case: Case,
    *,
    precision: str = "fp32",
    fast: bool = True,
    techniques: Techniques = Techniques(),
) -> Round:
    """This toolkit."""
    if fast:
        keep_freed_memory()
        fast_float32_matmul()
    codec = TextCodec.load(case.model)
    model = load_finetuned(case.model).eval()
    if precision == "bf16":
        model = model.to(torch.bfloat16)
    if precision == "int8":
        quantize_linear_layers(model)
    elif fast and techniques.packed:
        pack_linear_layers(model)
    sources = case.sources(codec)
    settings = case.settings(codec)
    method = case.method(codec)
    refill = None if techniques.join else 1.0
    rules: Sequence[AnyRule] | None = None
    if not techniques.top_of_logits:
        usual, _ = rules_of(settings, model.device, codec.special.vocab_size)
        rules = [*usual, _unchanged]
    if not techniques.stop_early:
        settings = replace(settings, keep_trace=True)

    def run(count: int | None = None) -> dict[str, Any]:
        requests = [Request(key, source) for key, source in enumerate(sources[:count])]
        budget = Budget(case.batch, refill_share=refill)
        with _without(techniques):
            found = generate(model, method, requests, settings, budget=budget, rules=rules)
            results = {request.key: result for request, result in found}
        ordered = [results[request.key] for request in requests]
        return {"examples": len(ordered), "found": texts_by_source(codec, sources[:count], ordered)}

    run(case.batch)
    return run


def _unchanged(scores: Tensor, progress: Progress) -> Tensor:
    """A rule that needs the whole distribution and changes nothing."""
    return scores


@contextmanager
def _without(techniques: Techniques) -> Iterator[None]:
    """Take techniques away for the time of a search."""
    with ExitStack() as changed:
        if not techniques.ancestry:
            changed.enter_context(patch.object(Bucket, "reorder", _reorder_by_copying))
        if not techniques.dead_rows:
            changed.enter_context(patch.object(Seq2SeqModel, "_run", _run_all_rows))
        if not techniques.buckets:
            changed.enter_context(patch.object(cache, "WORTH_SAVING", math.inf))
        yield


_REORDER, _RUN = Bucket.reorder, Seq2SeqModel._run


def _reorder_by_copying(bucket: Bucket, parents: Tensor) -> None:
    """What it would cost to move the target's keys and values as well; they end where they were."""
    _REORDER(bucket, parents)
    start, end = bucket.columns.source_size, bucket.columns.next
    for buffer in (*bucket._keys, *bucket._values):
        assert buffer is not None
        filled = buffer[: bucket.num_examples, :, start:end]
        filled.copy_(filled.index_select(2, torch.arange(end - start)))


def _run_all_rows(
    model: Seq2SeqModel, ids: Tensor, positions: Tensor, types: Tensor | None, plan: Any
) -> Tensor:
    """The head and the last layer for every row."""
    rows, plan.read_rows = plan.read_rows, None
    logits = _RUN(model, ids, positions, types, plan)
    return logits.reshape(-1, logits.shape[-1])[rows]


Contestants = dict[str, Callable[[], Round]]


def natural(case: Case) -> Contestants:
    """Outputs as long as the checkpoint makes them."""
    slow = replace(case, batch=min(case.batch, OTHERS_BATCH))
    return {
        "original's way, fp32": partial(plain, slow),
        "original's way, fast products": partial(plain, slow, fast=True),
        **{
            f"ours {kind}": partial(ours, case, precision=kind) for kind in ("fp32", "bf16", "int8")
        },
    }


def forced(case: Case) -> Contestants:
    """Outputs of one length, for peers with other weights."""
    theirs = replace(case, batch=min(case.batch, OTHERS_BATCH))
    rows: Contestants = {
        "BART 6+6, generate": partial(bart, theirs, layers=6),
        "BART 3+3, generate": partial(bart, theirs, layers=3),
        "BART 6+6, generate, fast products": partial(bart, theirs, layers=6, fast=True),
    }
    if find_spec("ctranslate2") is None:
        print("ctranslate2 is not installed: its rows are left out")
    else:
        for kind in ("float32", "int8"):
            name = f"BART 6+6, CTranslate2 {kind}"
            rows[name] = partial(ctranslate, theirs, layers=6, precision=kind)
    for kind in ("fp32", "bf16", "int8"):
        rows[f"ours {kind}"] = partial(ours, case, precision=kind)
    return rows


def ladder(case: Case) -> Contestants:
    """From the original's way to ours, one technique a row."""
    nothing = {name: False for name in vars(Techniques())}
    rows: Contestants = {
        "original's way": partial(plain, case),
        "+ keys and values kept": partial(plain, case, keep_projections=True),
        "+ source once an example": partial(plain, case, keep_projections=True, share_source=True),
        "+ fast products": partial(
            plain, case, keep_projections=True, share_source=True, fast=True
        ),
        "+ books on the device, one product": partial(ours, case, techniques=Techniques(**nothing)),
    }
    steps = {
        "+ exact stop, examples leave": ["stop_early"],
        "+ waiting examples join": ["join"],
        "+ no copies of beams": ["ancestry"],
        "+ dead rows left out": ["dead_rows"],
        "+ best of raw logits": ["top_of_logits"],
        "+ weights in the products' order": ["packed"],
        "+ buckets of like length = ours fp32": ["buckets"],
    }
    known = dict(nothing)
    for name, added in steps.items():
        known |= dict.fromkeys(added, True)
        rows[name] = partial(ours, case, techniques=Techniques(**known))
    rows["+ bfloat16"] = partial(ours, case, precision="bf16")
    rows["+ 8-bit products"] = partial(ours, case, precision="int8")
    return rows
