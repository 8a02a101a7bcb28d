"""The Python interface: a checkpoint that turns texts into texts.

    from s2s_ft import Generator

    generator = Generator.from_pretrained("outputs/first/ckpt-32000")
    print(generator(["A long text that wants a headline."], num_beams=5))
    for outputs in generator.generate(["Another one."], num_beams=5, num_return_sequences=3):
        print([(output.text, output.score) for output in outputs])

Notable: what is found in float32 for a source does not depend on what it is given together with. A
generator may be used from several threads: calls take turns, as there is one model.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from s2s_ft.decode.arguments import device_of, rows_of
from s2s_ft.decode.call import Call, of_every_call
from s2s_ft.decode.decoder import Decoder, tell_of_lacking_words
from s2s_ft.decode.defaults import (
    logged_in_their_names,
    read_defaults,
    told_in_their_names,
    with_defaults,
)
from s2s_ft.decode.device import choose_device
from s2s_ft.decode.lines.rows import Text
from s2s_ft.decode.lines.sources import Item, longest_first
from s2s_ft.decode.loading import FineTuned, load
from s2s_ft.decode.search.hypotheses import SearchResult
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.options import DecodeOptions


@dataclass(frozen=True)
class Output:
    """One generated text.

    Attributes:
        text: What was generated.
        score: What outputs are ranked by: the natural-log probability after the length penalty;
            None for an empty source.
        log_probability: The natural-log probability, summed over the tokens; None as above.
        tokens: The tokens as words, the end token included where it ended by itself.
        token_log_probabilities: The natural-log probability of each of these.
        finished: Whether it ended by itself, and not at the maximum length.
    """

    text: str
    score: float | None = None
    log_probability: float | None = None
    tokens: tuple[str, ...] = ()
    token_log_probabilities: tuple[float, ...] = ()
    finished: bool = True


class Generator:
    """A fine-tuned checkpoint, ready to generate; made by `Generator.from_pretrained`."""

    def __init__(
        self, fine_tuned: FineTuned, options: DecodeOptions, known: Mapping[str, Any]
    ) -> None:
        """Take a checkpoint, the options that hold for every call, and the checkpoint's defaults
        for the others (see `defaults.py`).
        """
        self._fine_tuned = fine_tuned
        self._options = options
        self._known = known
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        device: str | torch.device | None = None,
        bf16: bool = False,
        fp16: bool = False,
        int8: bool = False,
        cache_dir: str | Path | None = None,
    ) -> Generator:
        """Load a checkpoint.

        Args:
            path: Folder that training saved, or a hub id.
            device: Where it computes; a GPU where there is one unless given.
            bf16: Compute in bfloat16.
            fp16: Compute in float16 (GPUs only).
            int8: Compute linear layers in 8-bit integers (CPU only).
            cache_dir: Folder for what is downloaded from the hub.

        Raises:
            ValueError: It cannot be loaded, there is no such device, or it has not got the number
                format.
        """
        chosen = device_of(device)
        given = of_every_call(
            str(path),
            bf16=bf16,
            fp16=fp16,
            int8=int8,
            cache_dir=None if cache_dir is None else str(cache_dir),
            no_cuda=chosen is not None and chosen.type == "cpu",
        )
        found = choose_device(given.runtime)
        found = found if chosen is None else chosen
        if found.type == "cpu":
            fast_float32_matmul()
        known = read_defaults(str(path))
        # What a call gives goes before the checkpoint's defaults, so they are filled in again then.
        with logged_in_their_names():
            fine_tuned = load(str(path), with_defaults(given, known), found)
        return cls(fine_tuned, given, known)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self._fine_tuned.device

    def __call__(self, sources: Sequence[Text], **options: Any) -> list[str]:
        """The best text for each source.

        Args:
            sources: Texts, or lists of tokens that are only looked up.
            options: As for `generate`.

        Returns:
            One text a source, in their order; an empty one for an empty source.
        """
        return [outputs[0].text for outputs in self.generate(sources, **options)]

    def generate(
        self,
        sources: Sequence[Text],
        *,
        prefixes: Sequence[Text | None] | None = None,
        phrases: Sequence[str | Sequence[str] | None] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> list[list[Output]]:
        """The best outputs for each source, with their scores.

        Args:
            sources: Texts, or lists of tokens that are only looked up.
            prefixes: How the outputs begin, one a source; None = free.
            phrases: What the outputs must hold, one list a source, or text with | between;
                None = nothing.
            batch_size: Sources at a time; 64 on a CPU (128 with one beam, fewer where they are
                long) and 128 on a GPU unless given. What does not fit into memory is halved.
            options: num_beams, num_return_sequences, max_new_tokens, min_new_tokens,
                length_penalty, length_reward, no_repeat_ngram_size, repetition_penalty, bad_words,
                force_words (lists of words), num_beam_groups, diversity_penalty, do_sample,
                temperature, top_k, top_p, min_p, typical_p, seed, max_seq_length. What is None or
                not given is as in the checkpoint's generation_config.json, else as
                `decode_seq2seq.py` has it.

        Returns:
            For each source its outputs, best first; an empty source has one with an empty text.

        Raises:
            ValueError: An option is unknown or out of range, or a source is not text.
            EnvironmentFault: The device's memory does not hold one source at a time.
        """
        decoder = self.decoder(batch_size, **options)
        rows = rows_of(sources, prefixes, phrases)
        found: list[list[Output]] = [[] for _ in rows]
        num_lacking = 0
        with told_in_their_names():
            with self._lock, decoder.at_work():
                items = longest_first(decoder.read(rows))
                for item, result in decoder.results(items):
                    found[item.index] = _outputs(decoder, item, result)
                    num_lacking += decoder.lacks_words(item, result)
            tell_of_lacking_words(num_lacking)
        return found

    def check(self, **options: Any) -> None:
        """Check the options of a call without making it.

        Raises:
            ValueError: One is unknown or out of range.
        """
        self.decoder(**options)

    def decoder(self, batch_size: int | None = None, **options: Any) -> Decoder:
        """What decodes with the options of a call, for those who feed it themselves, such as a
        server. Its decoding does not take turns with calls of this generator.

        Args:
            batch_size: As for `generate`.
            options: As for `generate`.

        Raises:
            ValueError: An option is unknown or out of range.
        """
        with told_in_their_names():
            call = Call.of(
                self._options, self._known, options, batch_size=batch_size, source="Generator"
            )
            decoder = Decoder.of(self._fine_tuned.fitted(call.options), call.options)
            return decoder.with_words(bad=call.bad_words, forced=call.force_words)


def _outputs(decoder: Decoder, item: Item, result: SearchResult) -> list[Output]:
    """What a search found for a source."""
    if item.is_empty:
        return [Output("")]
    codec, wording = decoder.fine_tuned.codec, decoder.wording
    return [
        Output(
            codec.decode(each.ids),
            each.score,
            each.log_probability,
            tuple(wording.tokens_of(each)),
            each.token_log_probabilities,
            each.finished,
        )
        for each in result.hypotheses
    ]
