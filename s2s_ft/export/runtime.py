"""A small decoder over onnxruntime: exported graphs and texts in, texts out.

    from s2s_ft.export.runtime import OnnxDecoder

    decoder = OnnxDecoder.from_folder("onnx")
    print(decoder(["A long text that wants a headline."], num_beams=3))

Notable: the search is the package's own, so every option of generation is there; only the model is
another. The examples of a batch start together, and whoever is decided leaves it.

Letters: B examples, W beams, Q rows a beam feeds, S source, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.arguments import rows_of
from s2s_ft.decode.call import Call, of_every_call
from s2s_ft.decode.decoder import lacks_words, tell_of_lacking_words
from s2s_ft.decode.defaults import read_defaults, told_in_their_names
from s2s_ft.decode.lengths import KnownLengths
from s2s_ft.decode.lines.rows import Text
from s2s_ft.decode.lines.sources import Item, Reading, longest_first
from s2s_ft.decode.rules.assembly import rules_of
from s2s_ft.decode.search.beam_search import Hypothesis, SearchPlan, search
from s2s_ft.decode.search.requests import Budget, Request
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.decode.wishes import (
    fitting,
    flag_without_words,
    forced_words,
    listed_words,
    search_settings,
)
from s2s_ft.export.manifest import ENCODE, STEP, Manifest, tensor_names
from s2s_ft.methods import Method, method_named
from s2s_ft.options import DecodeOptions
from s2s_ft.text import TextCodec

BATCH_SIZE = 32
"""Sources at a time where `batch_size` is not given."""

Array = npt.NDArray[Any]


class Session(Protocol):
    """What is used of onnxruntime's session."""

    def run(self, output_names: None, input_feed: dict[str, Array]) -> list[Array]:
        """All outputs of a graph."""
        ...


class OnnxDecoder:
    """Exported graphs, ready to generate; made by `OnnxDecoder.from_folder`."""

    def __init__(
        self,
        manifest: Manifest,
        codec: TextCodec,
        encode: Session,
        step: Session,
        known: Mapping[str, Any],
    ) -> None:
        """Take what a folder holds; `known` are its defaults of generation, by flag."""
        self._manifest = manifest
        self._codec = codec
        self._graphs = encode, step
        self._known = known

    @classmethod
    def from_folder(cls, folder: str | Path, *, num_threads: int | None = None) -> OnnxDecoder:
        """Open what `python -m s2s_ft.export` wrote.

        Args:
            folder: Where it is.
            num_threads: Threads of a product; onnxruntime's own choice unless given.

        Raises:
            ValueError: The folder is not an export, or damaged.
            EnvironmentFault: onnxruntime is missing.
        """
        folder = Path(folder)
        manifest = Manifest.read(folder)
        codec = TextCodec.load(folder, do_lower_case=manifest.do_lower_case)
        codec = codec.with_vocab_size(manifest.special.vocab_size)
        encode, step = (_session(folder / name, num_threads) for name in (ENCODE, STEP))
        return cls(manifest, codec, encode, step, read_defaults(str(folder)))

    def __call__(self, sources: Sequence[Text], **options: Any) -> list[str]:
        """The best text for each source; options as for `generate`."""
        found = self.generate(sources, **options)
        return [self._codec.decode(each[0].ids) if each else "" for each in found]

    def generate(
        self,
        sources: Sequence[Text],
        *,
        prefixes: Sequence[Text | None] | None = None,
        phrases: Sequence[str | Sequence[str] | None] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> list[list[Hypothesis]]:
        """The best outputs for each source.

        Args:
            sources: Texts, or lists of tokens that are only looked up.
            prefixes: How the outputs begin, one a source; None = free.
            phrases: What the outputs must hold, as for `s2s_ft.Generator`.
            batch_size: Sources at a time; 32 unless given.
            options: As for `s2s_ft.Generator`: num_beams, max_new_tokens, bad_words, seed, …

        Returns:
            For each source its hypotheses, best first; none for an empty source.

        Raises:
            ValueError: An option is unknown or out of range, or a source is not text.
        """
        rows = rows_of(sources, prefixes, phrases)
        found: list[list[Hypothesis]] = [[] for _ in rows]
        with told_in_their_names():
            base = of_every_call("graphs")
            call = Call.of(base, self._known, options, batch_size=batch_size, source="OnnxDecoder")
            method = self._method(call.options)
            settings, reading = self._wishes(call, method)
            fit = fitting(reading.items(rows), settings, reading.name)
            with_tokens = longest_first(item for item in fit if item and not item.is_empty)
            size = call.options.runtime.batch_size or BATCH_SIZE
            num_lacking = 0
            for start in range(0, len(with_tokens), size):
                batch = with_tokens[start : start + size]
                for request, hypotheses in self._search(batch, method, settings):
                    found[request.key] = hypotheses
                    num_lacking += lacks_words(request, hypotheses, settings)
            tell_of_lacking_words(num_lacking)
        return found

    def _search(
        self, batch: Sequence[Item], method: Method, settings: SearchSettings
    ) -> list[tuple[Request, list[Hypothesis]]]:
        """Search the best outputs of a batch."""
        stepper = OnnxStepper(self._manifest, method, *self._graphs)
        rules, selection = rules_of(settings, stepper.device, method.special.vocab_size)
        plan = SearchPlan(settings, Budget(len(batch)), rules, selection)
        results = search(stepper, [item.request for item in batch], plan)
        return [(request, result.hypotheses) for request, result in results]

    def _wishes(self, call: Call, method: Method) -> tuple[SearchSettings, Reading]:
        """What a call wants of its outputs, and how its sources are read."""
        options, codec, longest = call.options, self._codec, method.max_target_length
        settings = search_settings(options, codec, max_length=longest)
        bad_words, phrases = listed_words(
            codec, bad=call.bad_words, forced=call.force_words, max_length=longest
        )
        reading = Reading(
            codec,
            method,
            options.data.input_file,
            forced_words(options.search, codec, max_length=longest) + phrases,
            without_words=flag_without_words(options.search),
        )
        return replace(settings, bad_words=settings.bad_words + bad_words), reading

    def _method(self, options: DecodeOptions) -> Method:
        """The method, with the lengths of this call."""
        known = self._manifest
        lengths = KnownLengths(
            known.max_source_length, known.max_target_length, known.num_positions
        )
        return method_named(
            known.method,
            special=known.special,
            max_source_length=lengths.longest_source(options),
            max_target_length=lengths.longest_target(options),
        )


class OnnxStepper:
    """The step function of a search over exported graphs (see `decode.plan.Stepper`)."""

    def __init__(self, manifest: Manifest, method: Method, encode: Session, step: Session) -> None:
        """Take the graphs; one batch."""
        self._manifest = manifest
        self._method = method
        self._encode, self._step = encode, step
        self._source: dict[str, Array] = {}
        self._target: list[Array] = []
        self._parents: Array | None = None

    @property
    def device(self) -> torch.device:
        """Where its logits are."""
        return torch.device("cpu")

    def admit(self, requests: Sequence[Request], rows: Sequence[int]) -> Tensor:
        """Encode the sources of a batch and ask for their first tokens: [B, 1, V]."""
        assert not self._target, "a batch starts together"
        assert list(rows) == list(range(len(requests)))
        lengths = np.array([len(request.source) for request in requests], dtype=np.int64)
        source = np.full((len(requests), lengths.max()), self._method.special.pad, dtype=np.int64)
        for row, request in enumerate(requests):
            source[row, : lengths[row]] = request.source
        encoded = self._encode.run(None, {"source": source, "source_lengths": lengths})
        names = tensor_names(self._manifest.num_layers, "source")
        self._source = {"source_lengths": lengths, **dict(zip(names, encoded, strict=True))}
        examples, heads, _, size = encoded[0].shape
        empty = np.zeros((examples, 1, heads, 0, size), dtype=encoded[0].dtype)
        self._target = [empty] * len(encoded)
        return self._ask(self._method.question(None, examples))

    def step(self, last: Tensor) -> Tensor:
        """[B, W, V] logits after `last` [B, W]."""
        return self._ask(self._method.question(last, last.shape[0]))

    def reorder(self, parents: Tensor) -> None:
        """Beams go on from `parents` [B, W]; the graph itself re-orders them at its next step."""
        self._parents = parents.numpy()

    def vacate(self, rows: Sequence[int]) -> None:
        """Examples in these rows are decided; they leave in `keep`."""

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Only these rows stay, in their order."""
        index = np.array(rows, dtype=np.int64)
        self._source = {name: array[index] for name, array in self._source.items()}
        self._target = [array[index] for array in self._target]
        if self._parents is not None:
            self._parents = self._parents[index]
        return list(rows)

    def _ask(self, question: Tensor) -> Tensor:
        """One step of the graph; what it keeps is handed to the next."""
        tokens = question.numpy()
        first = np.zeros(tokens.shape[:2], dtype=np.int64)
        names = tensor_names(self._manifest.num_layers, "target")
        logits, *self._target = self._step.run(
            None,
            {
                "tokens": tokens,
                "parents": first if self._parents is None else self._parents,
                **self._source,
                **dict(zip(names, self._target, strict=True)),
            },
        )
        return torch.from_numpy(logits)


def _session(path: Path, num_threads: int | None) -> Session:
    """Open a graph on the CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentFault(
            "the package onnxruntime is missing: pip install 's2s-ft[onnx]'"
        ) from error
    settings = onnxruntime.SessionOptions()
    if num_threads is not None:
        settings.intra_op_num_threads = num_threads
    try:
        session: Session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has a class of its own for every trouble
        raise ValueError(
            f"{path} cannot be opened ({error}): export the checkpoint anew"
        ) from error
    return session
