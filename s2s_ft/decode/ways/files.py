"""From a file of rows to a file of lines.

    rows ──> shares ──> this process, or workers, or ranks ──> journal ──> output, traces

Notable: rows are decoded by length, and the output is in the order of the input. Each of its files
is written in one step when all is done, the traces before the output; until then every share that
is done lies in the journal beside the output (`journal.py`), from which the same command goes on
with `--resume`. It stays until all checkpoints of the command are done, so that none of them is
decoded with again. Whoever decodes, the shares are the same, and so are the bytes of the output.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from tqdm import tqdm

from s2s_ft.decode.decoder import Decoder
from s2s_ft.decode.identity import identity_of, input_of
from s2s_ft.decode.lines.outputs import Line
from s2s_ft.decode.lines.rows import STANDARD, read_rows, stem_of
from s2s_ft.decode.lines.sources import Share, Sources
from s2s_ft.decode.lines.traces import TRACE_SUFFIX, TraceHeader, header_line
from s2s_ft.decode.loading import load
from s2s_ft.decode.ways.journal import OLD_SUFFIX, SUFFIX, Journal
from s2s_ft.decode.ways.ranks import Ranks
from s2s_ft.decode.ways.report import Report
from s2s_ft.decode.ways.workers import Workers
from s2s_ft.decode.wishes import rows_at_a_time
from s2s_ft.model.memory import give_back_freed_memory
from s2s_ft.options import DecodeOptions
from s2s_ft.storage.output_file import checked_output, write_whole, writing

logger = logging.getLogger(__name__)

Results = Generator[tuple[Share, list[Line]], None, None]
if TYPE_CHECKING:
    Bar = tqdm[NoReturn]


@dataclass(frozen=True)
class Job:
    """What is to be done with one checkpoint, whoever does it.

    Attributes:
        output: The file to write.
        num_rows: Rows of the input.
        shares: The rows, cut.
        identity: What makes the run the run it is.
        trace_head: First line of the traces, None where there are none.
        report: What to say at the end.
    """

    output: Path
    num_rows: int
    shares: Sequence[Share]
    identity: dict[str, Any]
    trace_head: str | None
    report: Report


def decode_file(
    name: str, options: DecodeOptions, device: torch.device, ranks: Ranks, journals: ExitStack
) -> None:
    """Decode the rows of `--input_file` with one checkpoint.

    Args:
        name: Folder or hub id of the checkpoint.
        options: Those of the run, every flag of the search known.
        device: Where it computes.
        ranks: The processes of a launcher, or this one alone.
        journals: Takes the run's journal, and lets go of it when the whole command is over.

    Raises:
        ValueError: a row or a flag is not as it should be; nothing is written.
        EnvironmentFault: processes that should decode died.
        OSError: the output cannot be written.
    """
    output = output_file(name, options)
    _check_ranks(options, ranks)
    if options.runtime.workers > 1:
        # Loaded here only for what it knows; the workers have models of their own.
        cpu = torch.device("cpu")
        here = load(name, options, cpu, hash_weights=True, pack_weights=False)
        job = _job(output, Decoder.of(here, options, device), device)
        del here
        give_back_freed_memory()
        journal = journals.enter_context(_journal(job, resume=options.runtime.resume))
        _do(job, journal, lambda shares, bar: _by_workers(name, options, shares))
    else:
        decoder = Decoder.of(load(name, options, device, hash_weights=True), options)
        job = _job(output, decoder, device)
        if not ranks.is_main:
            ranks.serve(job.shares, lambda share: _decoded(decoder, share))
            return
        journal = journals.enter_context(_journal(job, resume=options.runtime.resume))
        _do(job, journal, lambda shares, bar: _results(decoder, shares, bar, ranks))
    logger.info("output: %s", output)


def output_file(name: str, options: DecodeOptions) -> Path:
    """`--output_file`, or `<model_path>.<split>`.

    Without `--split`, the input file's name without its endings stands for it.

    Raises:
        ValueError: that, or what lies beside it, is a folder, or what the run reads.
    """
    data, model, search = options.data, options.model, options.search
    folder = Path(name)  # of a hub id only the last part becomes part of a file name
    if folder.name in ("", ".."):  # such as `.`, beside which nothing can be named
        folder = folder.resolve()
    split = data.split or stem_of(data.input_file)
    output = data.output_file or f"{folder if folder.is_dir() else folder.name}.{split}"
    reads = (
        ("--input_file", data.input_file),
        ("--model_path", name),
        ("--config_path", model.config_path),
        ("--tokenizer_name", model.tokenizer_name),
        ("--bad_words", search.bad_words),
        ("--force_words", search.force_words),
    )
    path = checked_output(output, reads)
    traces = [TRACE_SUFFIX] if data.need_score_traces else []
    for suffix in (*traces, SUFFIX, OLD_SUFFIX):
        checked_output(path.with_name(path.name + suffix), reads)
    return path


def _check_ranks(options: DecodeOptions, ranks: Ranks) -> None:
    if ranks.size > 1 and options.runtime.workers > 1:
        raise ValueError(
            f"--workers and {ranks.size} ranks (WORLD_SIZE) exclude each other: start as many ranks"
        )
    if ranks.size > 1 and options.data.input_file == STANDARD:
        raise ValueError(
            f"--input_file - cannot be shared by {ranks.size} ranks (WORLD_SIZE): give a file that "
            "all of them can read"
        )


def _job(output: Path, decoder: Decoder, device: torch.device) -> Job:
    """Read and cut the rows, and say all that can be said without decoding them."""
    options, fine_tuned = decoder.options, decoder.fine_tuned
    sources = Sources(decoder.read(read_rows(options.data)))
    checkpoint = {
        "weights": fine_tuned.weights,
        "config": fine_tuned.config,
        "method": fine_tuned.method.name,
        "device": device.type,
    }
    identity = identity_of(options, decoder.settings, decoder.budget, fine_tuned.codec, checkpoint)
    rows = rows_at_a_time(options.runtime, device, beam_size=decoder.settings.beam_size)
    return Job(
        output,
        len(sources),
        sources.shares(rows),
        {**identity, "input": input_of(sources.items)},
        _trace_head(decoder, len(sources)) if options.data.need_score_traces else None,
        Report.of(fine_tuned, decoder.reading.tally(sources.items)),
    )


def _journal(job: Job, *, resume: bool) -> Journal:
    with writing(job.output):
        return Journal(job.output, job.identity, resume=resume)


def _do(job: Job, journal: Journal, decode: Callable[[Sequence[Share], Bar], Results]) -> None:
    """Decode what is not done yet, keep it, and write the files at the end."""
    started, before, lacking = time.monotonic(), len(journal), 0
    shares = [s for s in job.shares if not journal.holds(item.index for item in s.items)]
    with (
        tqdm(total=job.num_rows, initial=before, desc="decoding", unit="row") as bar,
        closing(decode(shares, bar)) as results,  # which ends workers, whatever happens here
    ):
        for share, lines in results:
            journal.add(share.number, lines)
            lacking += sum(line.lacks_words for line in lines)
            bar.update(len(journal) - bar.n)
    assert len(journal) == job.num_rows
    with writing(job.output):
        _write(job, journal)
    job.report.tell(job.num_rows - before, time.monotonic() - started, lacking)


def _by_workers(name: str, options: DecodeOptions, shares: Sequence[Share]) -> Results:
    """What as many processes decode as `--workers` says, or as there are shares if that is less."""
    count = min(options.runtime.workers, len(shares))
    if count < options.runtime.workers:
        logger.info("--workers %d: %d of them have work to do", options.runtime.workers, count)
    with Workers(count, name, options) as workers:
        yield from workers.results(shares)


def _results(decoder: Decoder, shares: Sequence[Share], bar: Bar, ranks: Ranks) -> Results:
    """What this process decodes, and other ranks beside it."""
    if ranks.size > 1:
        yield from ranks.results(shares, lambda share: _decoded(decoder, share, bar))
    else:
        yield from ((share, _decoded(decoder, share, bar)) for share in shares)


def _decoded(decoder: Decoder, share: Share, bar: Bar | None = None) -> list[Line]:
    """The lines of a share, in any order."""
    found = []
    with decoder.at_work():
        for line in decoder.lines(share.items):
            found.append(line)
            if bar is not None:
                bar.update()
    return found


def _write(job: Job, journal: Journal) -> None:
    """The files of a run whose rows are all done, the output last: where it is, all else is."""
    if job.trace_head is not None:
        path = job.output.with_name(job.output.name + TRACE_SUFFIX)
        traces = chain([job.trace_head], (line.trace or "" for line in journal.lines()))
        write_whole(path, (trace + "\n" for trace in traces))
    write_whole(job.output, (line.output + "\n" for line in journal.lines()))


def _trace_head(decoder: Decoder, num_rows: int) -> str:
    fine_tuned, settings = decoder.fine_tuned, decoder.settings
    name = fine_tuned.tokenizer
    return header_line(
        TraceHeader(
            num_examples=num_rows,
            eos_id=settings.eos_id,
            pad_id=fine_tuned.codec.special.pad,
            beam_size=settings.beam_size,
            length_penalty=settings.length_penalty,
            length_reward=settings.length_reward,
            # A folder by its full path, so that it is found from anywhere; a hub id as it is.
            tokenizer=str(Path(name).resolve()) if Path(name).is_dir() else name,
            do_lower_case=fine_tuned.do_lower_case,
        )
    )
