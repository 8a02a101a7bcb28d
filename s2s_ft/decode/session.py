"""Decoding one batch: sources in, hypotheses out. It joins the model's cache, the method's question
and the search.

Letters: B examples, S source, W beams, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2s_ft.decode.beam_search import SearchResult, SearchSettings, search
from s2s_ft.layout import IntArray
from s2s_ft.methods import Method
from s2s_ft.model.cache import KeyValueCache
from s2s_ft.model.seq2seq import Seq2SeqModel


class ModelStepper:
    """The step function of a search over a model (see `beam_search.Stepper`)."""

    def __init__(self, model: Seq2SeqModel, method: Method, cache: KeyValueCache) -> None:
        """Take the model, its method, and the cache that holds the encoded sources."""
        self._model = model
        self._method = method
        self._cache = cache

    def step(self, last: Tensor | None) -> Tensor:
        """Logits of the next token."""
        question = self._method.question(last, self._cache.num_examples).to(self._model.device)
        return self._model.step(question, self._cache, num_unkept=self._method.num_unkept)

    def reorder(self, parents: Tensor) -> None:
        """Beams go on from `parents`."""
        self._cache.reorder(parents)

    def keep(self, examples: Tensor) -> None:
        """Only some examples stay."""
        self._cache.keep(examples)


@torch.no_grad()
def generate(
    model: Seq2SeqModel,
    method: Method,
    sources: Sequence[IntArray],
    settings: SearchSettings,
    *,
    left_to_right_source: bool = False,
) -> list[SearchResult]:
    """Decode one batch.

    Args:
        model: In evaluation mode.
        method: The method it was fine-tuned with.
        sources: [S] int64 each, special tokens included, as `method.source` lays them out.
        settings: What to search for.
        left_to_right_source: Let source tokens see only what stands before them (`--mode l2r`).

    Returns:
        One result a source, in their order.
    """
    lengths = torch.tensor([len(source) for source in sources], device=model.device)
    ids = torch.full((len(sources), max(map(len, sources))), method.special.pad)
    for row, source in enumerate(sources):
        ids[row, : len(source)] = torch.from_numpy(source)
    cache = model.encode(
        ids.to(model.device),
        lengths,
        capacity=settings.max_length + 1,
        left_to_right=left_to_right_source,
    )
    return search(ModelStepper(model, method, cache), len(sources), settings)
