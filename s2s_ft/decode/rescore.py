"""Pick other outputs from a finished search, without decoding again (`-m s2s_ft.decode.rescore`).

A trace (`lines/traces.py`) holds every hypothesis that the search met. This module ranks them
anew, by the first of these that is given (s: summed natural-log probability, n: tokens, the end
mark included):

    --length_penalty p --expect e    s - p |n - e|        a price on the distance from a length
    --length_penalty p               s + p n              a reward for every token; below 0 a price
    --alpha a                        s / ((5 + n)/6)^a    the search's own length penalty
    none of them                     s

Notable: ranked as the search ranked it, a trace gives the search's own text, unless the model wrote
padding as a token, which is an end here, as in the original, and none to the search. `--min_len`
sets shorter hypotheses aside before ranking; the original accepts that flag, but only puts it into
the name of the output. Importing this module loads no torch, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from s2s_ft.cli import parse, run
from s2s_ft.decode.rescore_options import RescoreOptions
from s2s_ft.storage.output_file import checked_output, write_output

if TYPE_CHECKING:
    from s2s_ft.decode.search.hypotheses import Trace
    from s2s_ft.text import TextCodec

logger = logging.getLogger(__name__)

PROGRAM = "python -m s2s_ft.decode.rescore"


class Candidate(NamedTuple):
    """A whole hypothesis of a trace.

    Attributes:
        score: Summed natural-log probability.
        length: In tokens, the end mark included; its last token stands at step `length` - 1.
        beam: Where in that step.
        text_length: What `text_length` says of its ids.
    """

    score: float
    length: int
    beam: int
    text_length: int


def best_sequence(
    trace: Trace,
    *,
    eos_id: int,
    pad_id: int | None = None,
    length_penalty: float = 0.0,
    alpha: float = 0.0,
    expected_length: float | None = None,
    min_length: int = 0,
) -> list[int]:
    """The hypothesis of a trace that ranks best (see `best_candidate`).

    Args:
        trace: valid steps only, no padding.
        eos_id: id of the end mark.
        pad_id: id of a token that a text is cut at as well, wherever the model generated it.
        length_penalty: as `best_candidate` has it.
        alpha: as `best_candidate` has it.
        expected_length: as `best_candidate` has it.
        min_length: as `best_candidate` has it.

    Returns:
        Its token ids, the end mark included if it has one; empty for a trace without steps.
    """
    best = best_candidate(
        candidates_of(trace, eos_id, pad_id),
        length_penalty=length_penalty,
        alpha=alpha,
        expected_length=expected_length,
        min_length=min_length,
    )
    return sequence_of(trace, best)


def best_candidate(
    candidates: Sequence[Candidate],
    *,
    length_penalty: float,
    alpha: float,
    expected_length: float | None = None,
    min_length: int,
) -> Candidate | None:
    """The candidate that ranks best; of equal ones the first that the search met.

    Args:
        candidates: those of a trace.
        length_penalty: reward for a token, or price of one away from `expected_length`; 0 = off.
        alpha: exponent of the search's length penalty; only used where `length_penalty` is 0.
        expected_length: in tokens, the end mark included; only used beside `length_penalty`.
        min_length: fewest tokens, the end mark not counted. Where no candidate is that long, all of
            them are ranked.

    Returns:
        None where there are no candidates.
    """

    def rank(candidate: Candidate) -> float:
        score, length = candidate.score, candidate.length
        if length_penalty and expected_length is not None:
            return score - length_penalty * abs(length - expected_length)
        if length_penalty:
            return score + length_penalty * length
        return float(score / ((5 + length) / 6) ** alpha)

    long_enough = [each for each in candidates if each.text_length >= min_length]
    return max(long_enough or candidates, key=rank, default=None)


def text_length(ids: Sequence[int], eos_id: int, pad_id: int | None) -> int:
    """Tokens before the first end mark or padding."""
    return next((index for index, token in enumerate(ids) if token in (eos_id, pad_id)), len(ids))


def candidates_of(trace: Trace, eos_id: int, pad_id: int | None) -> list[Candidate]:
    """Every end and every entry of the last step, as the search met them.

    What continues an ended hypothesis is only there to fill the beam (its score carries -10000) and
    is left out. The search goes on after a padding token, so what continues that is not.
    """
    ends = {eos_id, pad_id}
    last = next(
        (step for step, ids in enumerate(trace.ids) if ends.issuperset(ids)), len(trace.ids) - 1
    )
    found: list[Candidate] = []
    was_ended: list[bool] = []
    were_cut: list[int | None] = []  # each beam's text length, once it holds an end mark or padding
    for step in range(last + 1):
        ids, parents = trace.ids[step], trace.parents[step]
        over = [step > 0 and was_ended[parent] for parent in parents]
        cuts = [were_cut[parent] if step else None for parent in parents]
        cuts = [
            step if cut is None and token in ends else cut
            for cut, token in zip(cuts, ids, strict=True)
        ]
        for beam, token in enumerate(ids):
            if not over[beam] and (token in ends or step == last):
                cut, length = cuts[beam], step + 1
                score = trace.scores[step][beam]
                found.append(Candidate(score, length, beam, length if cut is None else cut))
        was_ended = [gone or token == eos_id for gone, token in zip(over, ids, strict=True)]
        were_cut = cuts
    return found


def sequence_of(trace: Trace, candidate: Candidate | None) -> list[int]:
    """The ids of a candidate, found by following the parents back; none for None."""
    if candidate is None:
        return []
    backwards: list[int] = []
    beam = candidate.beam
    for step in range(candidate.length - 1, -1, -1):
        backwards.append(trace.ids[step][beam])
        beam = trace.parents[step][beam]
    return backwards[::-1]


def rescore(options: RescoreOptions) -> int:
    """Rescore every trace that `--input` names and write one line of text an example.

    Raises:
        ValueError: no trace is found, one is damaged or would be written over, or its tokenizer
            does not fit.
        OSError: the output cannot be written.
    """
    _warn_of_idle_options(options)
    outputs = _traced_outputs(options.input)
    if options.output_file and len(outputs) > 1:
        raise ValueError(
            f"--output_file: one file cannot hold the {len(outputs)} outputs that --input names"
        )
    for output, trace_path in outputs:
        reads = (("--input", trace_path), ("--input", output))
        name = options.output_file or f"{output}.{_short_name(options)}"
        _rescore_file(trace_path, checked_output(name, reads), options)
    return 0


def _rescore_file(trace_path: Path, output_path: Path, options: RescoreOptions) -> None:
    from s2s_ft.decode.lines.traces import codec_of, read_header, read_traces

    header = read_header(trace_path)
    codec = codec_of(
        header,
        trace_path,
        tokenizer_name=options.tokenizer_name,
        do_lower_case=options.do_lower_case,
        cache_dir=options.cache_dir,
    )
    lines, short = [], 0
    for trace in read_traces(trace_path):
        ids = best_sequence(
            trace,
            eos_id=header.eos_id,
            pad_id=header.pad_id,
            length_penalty=options.length_penalty or 0.0,
            alpha=options.alpha or 0.0,
            expected_length=options.expect,
            min_length=options.min_len or 0,
        )
        is_short = text_length(ids, header.eos_id, header.pad_id) < (options.min_len or 0)
        short += is_short and bool(trace.ids)
        lines.append(_text(ids, codec, options))
    write_output(output_path, (line + "\n" for line in lines))
    if short:
        logger.warning(
            "%d examples have no hypothesis of --min_len %d tokens", short, options.min_len or 0
        )
    logger.info("%d examples of %s rescored to %s", len(lines), trace_path, output_path)


def _text(ids: Sequence[int], codec: TextCodec, options: RescoreOptions) -> str:
    from s2s_ft.decode.lines.outputs import one_line
    from s2s_ft.text import collapse_repeated_punctuation

    if not options.collapse_punctuation:
        return one_line(codec.decode(ids))
    return one_line(codec.join(collapse_repeated_punctuation(codec.words(ids))))


def _traced_outputs(pattern: str) -> list[tuple[str, Path]]:
    """(output file, trace file) of every output that `--input` names and that has a trace."""
    from s2s_ft.decode.lines.traces import TRACE_SUFFIX

    names = [pattern, *sorted(glob(pattern))]
    outputs = dict.fromkeys(name.removesuffix(TRACE_SUFFIX) for name in names)
    traced = [(name, Path(name + TRACE_SUFFIX)) for name in outputs]
    found = [(name, path) for name, path in traced if path.is_file()]
    if not found:
        raise ValueError(
            f"--input: no trace file {pattern}{TRACE_SUFFIX}; decode with --need_score_traces first"
        )
    return found


def _short_name(options: RescoreOptions) -> str:
    parts = [
        ("lenp", options.length_penalty),
        ("exp", options.expect),
        ("alp", options.alpha),
        ("minl", options.min_len),
    ]
    given = [part for part in parts if part[1] or (part[0] == "exp" and part[1] is not None)]
    return "".join(f"{name}{value}" for name, value in given) or "rescored"


def _warn_of_idle_options(options: RescoreOptions) -> None:
    if options.expect is not None and not options.length_penalty:
        logger.warning("--expect has no effect without --length_penalty")
    if options.alpha and options.length_penalty:
        logger.warning("--alpha has no effect beside --length_penalty")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and rescore; returns the exit code."""
    return rescore(
        parse(RescoreOptions, argv, PROGRAM, "Pick new outputs from the traces of a search.")
    )


if __name__ == "__main__":
    raise SystemExit(run(main))
