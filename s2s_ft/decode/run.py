"""The story of a decoding run: which checkpoint, which device, which way in and out.

    a file of rows to a file of lines       ways/files.py, with journal.py, workers.py, ranks.py
    rows to standard output, one by one     ways/stream.py
    what a user types                       ways/interactive.py

Notable: what comes out for a row does not depend on how many processes there were; in float32 it
depends neither on the batch size nor on the other rows, nor on the way it came in.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import torch

from s2s_ft.data.files import require_file
from s2s_ft.decode.decoder import Decoder
from s2s_ft.decode.defaults import FILE, read_defaults, with_defaults
from s2s_ft.decode.device import choose_device, make_ready, tell_place
from s2s_ft.decode.generator import Generator
from s2s_ft.decode.lines.rows import STANDARD
from s2s_ft.decode.loading import find_checkpoints, load
from s2s_ft.decode.rules.words import is_file_of_words
from s2s_ft.decode.ways.files import decode_file
from s2s_ft.decode.ways.interactive import talk
from s2s_ft.decode.ways.ranks import Ranks, joined
from s2s_ft.decode.ways.report import Report
from s2s_ft.decode.ways.stream import stream
from s2s_ft.options import DecodeOptions


def decode(options: DecodeOptions) -> int:
    """Decode with every checkpoint that `--model_path` names.

    Returns:
        0, the exit code.

    Raises:
        ValueError: a flag, the checkpoint or a row is not as it should be.
        EnvironmentFault: the device has too little memory, or other processes died.
    """
    checkpoints = find_checkpoints(options.model.model_path)
    _check_one_place(options, len(checkpoints))
    with joined() as ranks, ExitStack() as journals:
        _check_files(options, num_readers=len(checkpoints) * ranks.size)
        device = choose_device(options.runtime, ranks.local_rank)
        make_ready(device)
        runtime = options.runtime
        tell_place(device, runtime, ranks=ranks.size, workers=runtime.workers)
        for number, name in enumerate(checkpoints):
            _decode_with(name, options, device, ranks.part(str(number)), journals)
    return 0


def _decode_with(
    name: str, options: DecodeOptions, device: torch.device, ranks: Ranks, journals: ExitStack
) -> None:
    """One checkpoint, whatever the way in and out."""
    known = read_defaults(name)
    full = with_defaults(options, known, source=str(Path(name) / FILE))
    if options.data.interactive or options.data.is_streamed:
        _check_alone(options, ranks)
    if options.data.interactive:
        generator = Generator(load(name, full, device), options, known)
        talk(generator, tokenized=options.data.tokenized_input)
    elif options.data.is_streamed:
        _stream(Decoder.of(load(name, full, device), full))
    else:
        decode_file(name, full, device, ranks, journals)


def _stream(decoder: Decoder) -> None:
    started = time.monotonic()
    feed = stream(decoder)
    report = Report.of(decoder.fine_tuned, feed.tally)
    report.tell(feed.tally.num_rows, time.monotonic() - started, feed.num_lacking)


def _check_one_place(options: DecodeOptions, num_checkpoints: int) -> None:
    """Refuse one place for several outputs."""
    data = options.data
    if num_checkpoints > 1 and (data.output_file or data.interactive or data.is_streamed):
        raise ValueError(
            f"--output_file: one file cannot hold the outputs of the {num_checkpoints} "
            "checkpoints that --model_path names"
        )


def _check_files(options: DecodeOptions, *, num_readers: int) -> None:
    """Refuse files that are not there, and pipes that one reader would leave empty to the next."""
    data, search = options.data, options.search
    if data.input_file not in ("", STANDARD):
        require_file(data.input_file, "--input_file", rereads=num_readers > 1)
    # Each worker looks words up for itself, and so does each source that is typed.
    again = num_readers > 1 or options.runtime.workers > 1 or data.interactive
    for flag, words in (("--bad_words", search.bad_words), ("--force_words", search.force_words)):
        if words and is_file_of_words(words):
            require_file(words, flag, rereads=again)


def _check_alone(options: DecodeOptions, ranks: Ranks) -> None:
    """Refuse several ranks where there is one place to read from, or to write to."""
    if ranks.size > 1:
        way = "--interactive" if options.data.interactive else "--output_file -"
        raise ValueError(
            f"{way} and {ranks.size} ranks (WORLD_SIZE) exclude each other: start one process"
        )
