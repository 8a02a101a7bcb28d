"""The server's model: a `Generator`, as a `Backend`.

Notable: texts of different requests are searched together, so their keys (on which only the random
numbers of samples hang) may repeat, and results find their texts by the request object itself. What
a client sends is only ever text: its words are looked up here, never taken for names of files, as
the flags of the command line may be.

torch is imported with this module; the server imports it on the model's thread.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from s2s_ft.decode.decoder import Decoder
from s2s_ft.decode.defaults import in_their_names
from s2s_ft.decode.generator import Generator
from s2s_ft.decode.hypotheses import Hypothesis, SearchResult
from s2s_ft.decode.loading import make_ready
from s2s_ft.decode.requests import NonFiniteScores, Request
from s2s_ft.decode.rows import Row
from s2s_ft.decode.session import generate
from s2s_ft.decode.sources import longest_first
from s2s_ft.decode.words import forbidden_sequences
from s2s_ft.serve.backend import Generated, ModelFault, Output, Work
from s2s_ft.serve.options import ServedModelOptions
from s2s_ft.text import TextCodec

NOTHING = Generated((Output("", None, None, 0, finished=True),))
"""What comes of an empty text."""


class GeneratorBackend(Generator):
    """A checkpoint that decodes what the server hands it; made by `load`."""

    name = ""

    @classmethod
    def load(cls, options: ServedModelOptions) -> GeneratorBackend:
        """Load the checkpoint, and run it once, so that the first request finds it warm.

        Raises:
            ValueError: it cannot be loaded, or the device has not got the number format.
        """
        backend = cls.from_pretrained(
            options.model_path,
            device="cpu" if options.no_cuda else None,
            bf16=options.bf16,
            fp16=options.fp16,
            int8=options.int8,
            cache_dir=options.cache_dir,
        )
        assert isinstance(backend, GeneratorBackend)
        backend.name = options.model_path
        make_ready(backend.device)
        backend.decode([Work("a", 0)], {})
        return backend

    def decode(self, works: Sequence[Work], options: Mapping[str, Any]) -> list[Generated]:
        """Decode texts with the options of a call (see `Backend.decode`)."""
        words = {name: options.get(name, ()) for name in ("bad_words", "force_words")}
        others = {name: value for name, value in options.items() if name not in words}
        try:
            decoder = self._decoder(len(works), others)
            bad_words = forbidden_sequences(words["bad_words"], decoder.fine_tuned.codec)
            decoder = replace(decoder, settings=replace(decoder.settings, bad_words=bad_words))
            with self._lock, decoder.at_work():
                return _search(decoder, works, words["force_words"])
        except NonFiniteScores as fault:
            raise ModelFault(
                "the model's scores are no numbers: the weights are damaged, or too large for "
                "--fp16 (try --bf16)"
            ) from fault
        except ValueError as fault:
            raise ValueError(_for_clients(str(fault))) from fault
        except torch.OutOfMemoryError as fault:
            raise ModelFault("the device's memory does not hold one text at a time") from fault


def _search(decoder: Decoder, works: Sequence[Work], force_words: Sequence[str]) -> list[Generated]:
    """What is found for each text."""
    rows = [
        Row(work.text, work.key + 1, prefix=work.prefix, force_words=tuple(force_words))
        for work in works
    ]
    items = list(replace(decoder.reading, name="text").items(rows))
    # `index` tells texts apart, `key` may be the same for texts of several requests.
    requests = {
        item.index: replace(item.request, key=work.key)
        for item, work in zip(items, works, strict=True)
    }
    waiting = [requests[item.index] for item in longest_first(items) if not item.is_empty]
    index_of = {id(request): index for index, request in requests.items()}
    generated = [NOTHING] * len(works)
    for request, result in _results(decoder, waiting):
        index = index_of[id(request)]
        generated[index] = _generated(
            decoder.fine_tuned.codec, result, truncated=items[index].is_cut
        )
    return generated


def _results(decoder: Decoder, requests: Sequence[Request]) -> list[tuple[Request, SearchResult]]:
    found = generate(
        decoder.fine_tuned.model,
        decoder.fine_tuned.method,
        requests,
        decoder.settings,
        budget=decoder.budget,
        left_to_right_source=decoder.options.search.mode == "l2r",
    )
    return list(found)


def _generated(codec: TextCodec, result: SearchResult, *, truncated: bool) -> Generated:
    if not all(math.isfinite(each.score) for each in result.hypotheses):
        raise ModelFault("the model's scores are no numbers: the weights are damaged")
    return Generated(tuple(_output(codec, each) for each in result.hypotheses), truncated)


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
