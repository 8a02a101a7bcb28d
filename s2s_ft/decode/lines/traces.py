"""Search traces on disk: JSON lines that hold, for every example, all that a search looked at.

The first line is a header: what the rescorer must know of the run. Each further line is one
example, in input order:

    {"format": "s2s-ft trace", "version": 1, "num_examples": 2, "eos_id": 102, "pad_id": 0, …}
    {"index": 0, "scores": [[-0.1, -2.3], [-0.4, -2.9]], "ids": [[7, 9], [102, 8]],
     "parents": [[0, 0], [0, 1]]}

Inner lists are the beams of one step. Notable: `scores` are summed natural-log probabilities
without length penalty, `parents[t][i]` says which beam of step t-1 entry i continues, and an
example with an empty source has no steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from s2s_ft.decode.search.hypotheses import Trace

if TYPE_CHECKING:
    from s2s_ft.text import TextCodec

TRACE_SUFFIX = ".trace.jsonl"
_FORMAT = "s2s-ft trace"
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class TraceHeader:
    """What a trace file says about the run that wrote it.

    `eos_id` ends a sequence; `length_penalty` and `length_reward` are those that the run ranked by
    (older files do not tell the reward); `tokenizer` is the folder (or name) that turns the ids
    into text, and `do_lower_case` the casing that it was loaded with (None: as in its files).
    """

    num_examples: int
    eos_id: int
    pad_id: int
    beam_size: int
    length_penalty: float
    tokenizer: str
    do_lower_case: bool | None
    length_reward: float = 0.0


def header_line(header: TraceHeader) -> str:
    """The first line of a trace file."""
    return json.dumps(
        {"format": _FORMAT, "version": _VERSION, **asdict(header)}, ensure_ascii=False
    )


def trace_line(index: int, trace: Trace) -> str:
    """The line of example `index`."""
    steps = {"scores": trace.scores, "ids": trace.ids, "parents": trace.parents}
    return json.dumps({"index": index, **steps})


def read_header(path: Path) -> TraceHeader:
    """The header of a trace file.

    Raises:
        ValueError: the first line is not a header of this version.
    """
    with _open(path) as stream:
        return _parse_header(stream.readline(), path)


def read_traces(path: Path) -> Iterator[Trace]:
    """The traces of a file, in the order of the examples, one at a time.

    Raises:
        ValueError: names the file and the line that is damaged, missing or out of order.
    """
    with _open(path) as stream:
        header = _parse_header(stream.readline(), path)
        count = 0
        for index, line in enumerate(stream):
            yield _parse_trace(_parse_object(line, path, index + 2), path, index)
            count = index + 1
    if count != header.num_examples:
        raise ValueError(
            f"{path}: holds {count} of the {header.num_examples} examples that its first line "
            "announces; decode again"
        )


def codec_of(
    header: TraceHeader,
    path: Path,
    *,
    tokenizer_name: str | None,
    cache_dir: str | None,
    do_lower_case: bool = False,
) -> TextCodec:
    """The tokenizer that the ids of a trace file belong to.

    Args:
        header: Of the file.
        path: The file, for messages.
        tokenizer_name: Another tokenizer than the header names, or None.
        cache_dir: Where fetched files are kept.
        do_lower_case: Lower case, whatever the header says.

    Raises:
        ValueError: It ends a text with another id than the run did.
    """
    from s2s_ft.text import TextCodec  # slow, and traces are read without it

    name = tokenizer_name or header.tokenizer
    lower = do_lower_case or header.do_lower_case
    codec = TextCodec.load(name, do_lower_case=lower, cache_dir=cache_dir)
    if codec.special.sep != header.eos_id:
        raise ValueError(
            f"--tokenizer_name: {name} ends a text with id {codec.special.sep}, the model behind "
            f"{path} with {header.eos_id}; name the tokenizer of that model"
        )
    return codec


def _open(path: Path) -> TextIO:
    # Bytes that are not UTF-8 are no part of a trace: what is said of them names their line.
    return path.open(encoding="utf-8", errors="replace")


def _parse_object(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as fault:
        raise ValueError(
            f"{path}, line {number}: not JSON ({fault.msg}); --need_score_traces writes such files"
        ) from fault
    if not isinstance(value, dict):
        raise ValueError(f"{path}, line {number}: a JSON object was expected")
    return value


def _parse_header(line: str, path: Path) -> TraceHeader:
    row = _parse_object(line, path, 1)
    if row.get("format") != _FORMAT:
        raise ValueError(
            f"{path}, line 1: not a trace file of s2s-ft (--need_score_traces writes them)"
        )
    if row.get("version") != _VERSION:
        raise ValueError(
            f"{path}, line 1: trace format version {row.get('version')} is not known here; "
            "decode again with this version"
        )
    row = {"length_reward": 0.0, **row}
    names = [field.name for field in fields(TraceHeader)]
    missing = [name for name in names if name not in row]
    if missing:
        raise ValueError(f"{path}, line 1: the header lacks {', '.join(missing)}")
    for name in ("num_examples", "eos_id", "pad_id"):
        if not isinstance(row[name], int):
            raise ValueError(f"{path}, line 1: '{name}' must be a whole number")
    for name in ("length_penalty", "length_reward"):
        if not isinstance(row[name], (int, float)):
            raise ValueError(f"{path}, line 1: '{name}' must be a number")
    return TraceHeader(**{name: row[name] for name in names})


def _parse_trace(row: dict[str, Any], path: Path, index: int) -> Trace:
    place = f"{path}, line {index + 2}"
    if row.get("index") != index:
        found = row.get("index")
        raise ValueError(
            f"{place}: example {index} was expected, found {found}; a line is lost or moved"
        )
    trace = Trace(
        scores=_steps(row.get("scores"), (int, float), f"{place}: 'scores'"),
        ids=_steps(row.get("ids"), (int,), f"{place}: 'ids'"),
        parents=_steps(row.get("parents"), (int,), f"{place}: 'parents'"),
    )
    widths = [len(step) for step in trace.scores]
    if any(widths != [len(step) for step in steps] for steps in (trace.ids, trace.parents)):
        raise ValueError(f"{place}: 'scores', 'ids' and 'parents' differ in shape")
    for step, width in zip(trace.parents[1:], widths, strict=False):
        if not all(0 <= parent < width for parent in step):
            raise ValueError(f"{place}: an entry of 'parents' points outside the step before it")
    return trace


def _steps(steps: object, kinds: tuple[type, ...], name: str) -> list[list[Any]]:
    if not isinstance(steps, list) or not all(isinstance(step, list) and step for step in steps):
        raise ValueError(f"{name} must be a list with one non-empty list a step")
    entries = (entry for step in steps for entry in step)
    if not all(isinstance(entry, kinds) and not isinstance(entry, bool) for entry in entries):
        raise ValueError(f"{name} holds something that is not a number")
    return steps
