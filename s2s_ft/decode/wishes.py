"""From flags to what the search takes: words looked up, files of words read, a batch that fits."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import torch

from s2s_ft.decode.lines.sources import Item
from s2s_ft.decode.rules.assembly import settings_of
from s2s_ft.decode.rules.forced import check_request
from s2s_ft.decode.rules.words import Sequences, forbidden_sequences, read_words, wanted_phrases
from s2s_ft.decode.search.requests import Budget
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.options import DecodeOptions
from s2s_ft.options.decode import DecodeRuntimeOptions
from s2s_ft.options.search import SearchOptions
from s2s_ft.text import LINE_BREAK_MARK, TextCodec

logger = logging.getLogger(__name__)

BATCH_SIZES = {"cpu": 64, "cuda": 128}
"""Rows at a time where neither `--batch_size` nor `--max_tokens_per_batch` is given; what does not
fit into memory is halved."""

GREEDY_BATCH_SIZES = BATCH_SIZES | {"cpu": 128}
"""The same for a single beam: with one row a step for each example, reading the weights would
otherwise be most of a step on a CPU."""

CPU_TOKENS = 32_768
"""Most tokens (as `--max_tokens_per_batch` counts) of such a batch on a CPU, where the system kills
what takes too much memory instead of refusing it: with BERT-base in float32 2.4 GB of keys and
values."""

UNLIMITED = 1024
"""Rows at a time where only `--max_tokens_per_batch` is given: it alone decides."""


def search_settings(options: DecodeOptions, codec: TextCodec, *, max_length: int) -> SearchSettings:
    """The settings of the search, words looked up.

    Args:
        options: All options of the run, every flag of the search known.
        codec: Knows the words.
        max_length: Most tokens of an output, the end token included.

    Raises:
        ValueError: a word is not in the vocabulary, or a file of words cannot be read.
    """
    search = options.search
    return settings_of(
        search,
        max_length=max_length,
        eos_id=codec.special.sep,
        ignore_ids=_ignored_ids(search.forbid_ignore_word, codec),
        bad_words=forbidden_sequences(read_words(search.bad_words, "bad_words"), codec),
        word_marks=codec.word_marks,
        keep_trace=options.data.need_score_traces,
        seed=options.runtime.seed,
    )


def forced_words(search: SearchOptions, codec: TextCodec, *, max_length: int) -> Sequences:
    """The token sequences of `--force_words`.

    Args:
        search: Options of the search.
        codec: Knows the words.
        max_length: Most tokens of an output, the end token included.

    Raises:
        ValueError: a word is not in the vocabulary, a file of words cannot be read, or no output
            has room for all words.
    """
    phrases = wanted_phrases(read_words(search.force_words, "force_words"), codec)
    return _with_room(phrases, max_length)


def listed_words(
    codec: TextCodec, *, bad: Sequence[str], forced: Sequence[str], max_length: int
) -> tuple[Sequences, Sequences]:
    """The token sequences of words that are words whatever they look like.

    Args:
        codec: Knows the words.
        bad: What must not come out.
        forced: What every output must hold.
        max_length: Most tokens of an output, the end token included.

    Returns:
        Those of `bad`, and those of `forced`.

    Raises:
        ValueError: the tokenizer cannot write a word, or no output has room for all of `forced`.
    """
    phrases = _with_room(wanted_phrases(forced, codec), max_length)
    return forbidden_sequences(bad, codec), phrases


def _with_room(phrases: Sequences, max_length: int) -> Sequences:
    """The phrases, if an output can hold them all: a search for more only takes time and memory."""
    wanted = sum(map(len, phrases))
    if wanted >= max_length:
        raise ValueError(
            f"--force_words: the words have {wanted} tokens, and outputs {max_length} at most, the "
            "end token included: give fewer or raise --max_tgt_length"
        )
    return phrases


def flag_without_words(search: SearchOptions) -> str:
    """A flag that does not go together with forced words, if there is one."""
    if search.do_sample:
        return "--do_sample"
    return "--num_beam_groups" if (search.num_beam_groups or 1) > 1 else ""


def fitting(
    items: Iterable[Item | None], settings: SearchSettings, name: str
) -> Iterator[Item | None]:
    """The items as they come.

    Args:
        items: None among them says that nothing is there right now.
        settings: Of the search.
        name: Of the input, for messages.

    Raises:
        ValueError: an item wants what no output can have; input and line are named.
    """
    for item in items:
        if item is not None and not item.is_empty:
            try:
                check_request(item.request, settings)
            except ValueError as fault:
                raise ValueError(f"{name}, line {item.line}: {fault}") from fault
        yield item


def budget_of(options: DecodeRuntimeOptions, device: torch.device, *, beam_size: int) -> Budget:
    """How much is searched at once."""
    size, tokens = options.batch_size, options.max_tokens_per_batch
    if size is None and tokens is None:
        size = rows_at_a_time(options, device, beam_size=beam_size)
        tokens = CPU_TOKENS if device.type == "cpu" else None
    return Budget(size or UNLIMITED, tokens, compile=options.torch_compile)


def rows_at_a_time(options: DecodeRuntimeOptions, device: torch.device, *, beam_size: int) -> int:
    """Rows of a batch, about, by which an input is cut into shares: `--batch_size`, or what is
    usual on the device, so that there is work for several processes where tokens alone are limited.
    """
    usual = BATCH_SIZES if beam_size > 1 else GREEDY_BATCH_SIZES
    return options.batch_size or usual[device.type]


def _ignored_ids(words: str | None, codec: TextCodec) -> tuple[int, ...]:
    """Ids of the words of `--forbid_ignore_word`; bracketed ones are special tokens in capitals."""
    if not words:
        return ()
    tokens = [
        word.upper() if word.startswith("[") and word.endswith("]") else word
        for word in words.split("|")
    ]
    vocabulary, line_break = codec.tokenizer.get_vocab(), LINE_BREAK_MARK.strip()
    for token in tokens:
        if token == line_break and token not in vocabulary:
            logger.warning("--forbid_ignore_word: this model never writes %s", line_break)
        elif token not in vocabulary:
            raise ValueError(
                f"--forbid_ignore_word: '{token}' is no token of the model's vocabulary"
            )
    return tuple(vocabulary[token] for token in tokens if token in vocabulary)
