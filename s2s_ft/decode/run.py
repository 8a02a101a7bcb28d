"""The story of a decoding run: checkpoint, sources, search, one line of output a row.

Notable: what comes out for a row depends neither on the batch size nor on the other rows. Batches
are formed by length, so results come out of order; `OrderedLines` brings them into the input's
order and puts the files in place only when all is done. Rows without any token get an empty line
and never meet the model.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from tqdm import tqdm

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.beam_search import SearchResult, SearchSettings
from s2s_ft.decode.loading import FineTuned, autocast, choose_device, find_checkpoints, load
from s2s_ft.decode.outputs import OrderedLines, Writer
from s2s_ft.decode.session import generate
from s2s_ft.decode.sources import Sources, read_sources
from s2s_ft.decode.traces import TRACE_SUFFIX, TraceHeader, header_line
from s2s_ft.model.memory import keep_freed_memory
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.options import DecodeOptions
from s2s_ft.text import TextCodec

logger = logging.getLogger(__name__)


def decode(options: DecodeOptions) -> int:
    """Decode `--input_file` with every checkpoint that `--model_path` names.

    Returns:
        0, the exit code.

    Raises:
        ValueError: a flag, the checkpoint or a row is not as it should be.
        EnvironmentFault: the device has too little memory.
    """
    device = choose_device(options.runtime)
    checkpoints = find_checkpoints(options.model.model_path)
    if options.data.output_file and len(checkpoints) > 1:
        raise ValueError(
            f"--output_file: one file cannot hold the outputs of the {len(checkpoints)} "
            "checkpoints that --model_path names"
        )
    if device.type == "cpu":
        keep_freed_memory()
        fast_float32_matmul()
    for name in checkpoints:
        _decode_with(name, options, device)
    return 0


def _decode_with(name: str, options: DecodeOptions, device: torch.device) -> None:
    """One checkpoint, from its folder to the output file."""
    output_path = output_file(name, options)
    fine_tuned = load(name, options, device)
    settings = search_settings(options, fine_tuned)
    sources = read_sources(options.data, fine_tuned.codec, fine_tuned.method)
    started = time.monotonic()
    with ExitStack() as files:
        writer = Writer(
            codec=fine_tuned.codec,
            lines=files.enter_context(OrderedLines(output_path)),
            traces=_trace_lines(files, output_path, fine_tuned, settings, len(sources)),
            as_json=options.data.output_format == "jsonl",
        )
        with torch.inference_mode(), autocast(options.runtime, device):
            _search_all(sources, fine_tuned, settings, options, writer)
    _report(sources, fine_tuned, time.monotonic() - started)
    logger.info("output: %s", output_path)


def output_file(name: str, options: DecodeOptions) -> Path:
    """`--output_file`, or `<model_path>.<split>`.

    Without `--split`, the input file's name up to its first dot stands for it.

    Raises:
        ValueError: that is a folder, or the input.
    """
    if options.data.output_file:
        path = Path(options.data.output_file)
    else:
        split = options.data.split or Path(options.data.input_file).name.split(".")[0]
        folder = Path(name)  # of a hub id only the last part becomes part of a file name
        path = Path(f"{folder if folder.is_dir() else folder.name}.{split}")
    if path.is_dir():
        raise ValueError(f"--output_file: {path} is a folder; give the name of a file")
    if path.resolve() == Path(options.data.input_file).resolve():
        raise ValueError(f"--output_file: {path} is the input; give another name")
    return path


def search_settings(options: DecodeOptions, fine_tuned: FineTuned) -> SearchSettings:
    """The settings of the search, words looked up.

    Raises:
        ValueError: `--forbid_ignore_word` holds a word that the vocabulary does not have.
    """
    search = options.search
    return SearchSettings(
        beam_size=search.beam_size,
        max_length=fine_tuned.method.max_target_length,
        min_length=search.min_len,
        length_penalty=search.length_penalty,
        ngram_size=search.ngram_size if search.forbid_duplicate_ngrams else 0,
        ignore_ids=_ignored_ids(search.forbid_ignore_word, fine_tuned.codec),
        eos_id=fine_tuned.codec.special.sep,
        num_return=search.num_return_sequences,
        keep_trace=options.data.need_score_traces,
    )


def _ignored_ids(words: str | None, codec: TextCodec) -> tuple[int, ...]:
    """Ids of the words of `--forbid_ignore_word`; bracketed ones are special tokens in capitals."""
    if not words:
        return ()
    tokens = [
        word.upper() if word.startswith("[") and word.endswith("]") else word
        for word in words.split("|")
    ]
    vocabulary = codec.tokenizer.get_vocab()
    for token in tokens:
        if token not in vocabulary:
            raise ValueError(
                f"--forbid_ignore_word: '{token}' is no token of the model's vocabulary"
            )
    return tuple(vocabulary[token] for token in tokens)


def _trace_lines(
    files: ExitStack,
    output_path: Path,
    fine_tuned: FineTuned,
    settings: SearchSettings,
    num_examples: int,
) -> OrderedLines | None:
    if not settings.keep_trace:
        return None
    header = TraceHeader(
        num_examples=num_examples,
        eos_id=settings.eos_id,
        pad_id=fine_tuned.codec.special.pad,
        beam_size=settings.beam_size,
        length_penalty=settings.length_penalty,
        tokenizer=_whole_path(fine_tuned.tokenizer),
        do_lower_case=fine_tuned.do_lower_case,
    )
    path = output_path.with_name(output_path.name + TRACE_SUFFIX)
    return files.enter_context(OrderedLines(path, head=header_line(header)))


def _whole_path(name: str) -> str:
    """A folder by its full path, so that it is found from anywhere; a hub id as it is."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def _search_all(
    sources: Sources,
    fine_tuned: FineTuned,
    settings: SearchSettings,
    options: DecodeOptions,
    writer: Writer,
) -> None:
    """Search batch by batch, longest sources first, and write what is found."""
    with tqdm(total=len(sources), desc="decoding", unit="row", dynamic_ncols=True) as progress:
        for index, ids in enumerate(sources.ids):
            if not ids.size:
                writer.put(index, SearchResult([], None))
        progress.update(sources.num_empty)
        for batch in sources.batches(options.runtime.batch_size):
            results = _search(sources, batch, fine_tuned, settings, options)
            for index, result in zip(batch, results, strict=True):
                _check_scores(index, result)
                writer.put(index, result)
            progress.update(len(batch))


def _search(
    sources: Sources,
    batch: list[int],
    fine_tuned: FineTuned,
    settings: SearchSettings,
    options: DecodeOptions,
) -> list[SearchResult]:
    try:
        return generate(
            fine_tuned.model,
            fine_tuned.method,
            [sources.ids[index] for index in batch],
            settings,
            left_to_right_source=options.search.mode == "l2r",
        )
    except torch.OutOfMemoryError as fault:
        raise EnvironmentFault(
            f"the device's memory does not hold a batch of {len(batch)}: lower --batch_size"
        ) from fault


def _check_scores(index: int, result: SearchResult) -> None:
    if not all(math.isfinite(hypothesis.score) for hypothesis in result.hypotheses):
        raise ValueError(
            f"--model_path: row {index + 1} of the input gets scores that are no numbers; the "
            "weights are damaged, or --fp16 overflows (try --bf16)"
        )


def _report(sources: Sources, fine_tuned: FineTuned, seconds: float) -> None:
    """Say what was done, and what of the input the model did not see."""
    logger.info(
        "%d rows decoded in %.1f s, %.2f rows/s",
        len(sources),
        seconds,
        len(sources) / max(seconds, 1e-9),
    )
    if sources.num_empty:
        logger.warning("%d rows have an empty source and got an empty output", sources.num_empty)
    if sources.num_truncated:
        in_training = fine_tuned.model.settings.max_source_length
        logger.warning(
            "%d sources were cut to %d tokens, special ones included (--max_seq_length less "
            "--max_tgt_length); in training the limit was %s",
            sources.num_truncated,
            fine_tuned.method.max_source_length,
            "unknown" if in_training is None else in_training,
        )
