"""What a decoding run writes: one line an example, as text or as JSON, in the order of the input.

Notable: batches are formed by length, so results arrive out of order. `OrderedLines` keeps them on
disk, not in memory, and puts the whole file under its final name in one step at the end: a run that
fails or is stopped midway leaves no file behind and does not touch the one that an earlier run
left.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from s2s_ft.decode.beam_search import Hypothesis, SearchResult, Trace
from s2s_ft.decode.traces import trace_line
from s2s_ft.text import LINE_BREAK_MARK, TextCodec

# Every character at which some reader of lines starts a new one: those that `str.splitlines` knows.
_LINE_BREAKS = re.compile("\r\n|[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")


def one_line(text: str) -> str:
    """`text` without line breaks of any kind; where one was, stands ` [X_SEP] `."""
    return _LINE_BREAKS.sub(LINE_BREAK_MARK, text)


def json_line(index: int, hypotheses: Sequence[Hypothesis], texts: Sequence[str]) -> str:
    """One example as a JSON object.

    Args:
        index: number of the row in the input, from 0.
        hypotheses: best first; empty for an example whose source is empty.
        texts: the text of each hypothesis.

    Returns:
        `{"index", "hypotheses": [{"text", "score", "log_probability", "tokens"}]}`. `score` is what
        the hypotheses are ranked by (after the length penalty), `log_probability` the natural-log
        probability, summed; `tokens` leaves the end mark out. An empty source has one hypothesis
        with an empty text and null scores, so that the first one is always there.
    """
    rows: list[dict[str, object]] = [
        {
            "text": text,
            "score": hypothesis.score,
            "log_probability": hypothesis.log_probability,
            "tokens": len(hypothesis.ids),
        }
        for hypothesis, text in zip(hypotheses, texts, strict=True)
    ]
    if not rows:
        rows = [{"text": "", "score": None, "log_probability": None, "tokens": 0}]
    return json.dumps({"index": index, "hypotheses": rows}, ensure_ascii=False)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file in one step: under a temporary name in the same folder, synced, then renamed.

    Raises:
        OSError: the folder cannot be written; nothing is left under either name.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            for line in lines:
                stream.write(line + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class OrderedLines:
    """Lines that come in any order and reach their file in that of their indices, or not at all.

    A context manager: until it is left the lines lie in a nameless temporary file in the folder of
    `path` (which is made when it is missing, so that an unwritable place is known before hours of
    work); leaving it without an exception writes `path`.

    Args:
        path: the file to write.
        head: a line to stand before all others.

    Raises:
        OSError: the folder cannot be made or written.
    """

    def __init__(self, path: Path, head: str | None = None) -> None:
        """Open the temporary file."""
        self.path = path
        self._head = [] if head is None else [head]
        self._spans: dict[int, tuple[int, int]] = {}  # index -> (offset, length) in bytes
        self._size = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._spool: BinaryIO = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 closed by __exit__

    def put(self, index: int, line: str) -> None:
        """Keep `line`, which has no line break, for example `index`; each index is given once."""
        assert index not in self._spans, f"example {index} was written twice"
        assert "\n" not in line
        data = line.encode("utf-8", errors="replace")
        self._spool.write(data)
        self._spans[index] = (self._size, len(data))
        self._size += len(data)

    def __enter__(self) -> OrderedLines:
        """Nothing to do: the temporary file is open already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write the file, unless there was an exception, and drop the temporary one."""
        with self._spool:
            if kind is None:
                write_lines(self.path, self._in_order())

    def _in_order(self) -> Iterable[str]:
        yield from self._head
        for index in sorted(self._spans):
            offset, length = self._spans[index]
            self._spool.seek(offset)
            yield self._spool.read(length).decode("utf-8")


@dataclass
class Writer:
    """Turns results into lines: the outputs, as text or JSON, and the traces if they are wanted."""

    codec: TextCodec
    lines: OrderedLines
    traces: OrderedLines | None
    as_json: bool

    def put(self, index: int, result: SearchResult) -> None:
        """Write what the search found for row `index`; of an empty source, that is nothing."""
        texts = [self.codec.decode(hypothesis.ids) for hypothesis in result.hypotheses]
        if self.as_json:
            self.lines.put(index, json_line(index, result.hypotheses, texts))
        else:
            self.lines.put(index, one_line(texts[0]) if texts else "")
        if self.traces is not None:
            self.traces.put(index, trace_line(index, result.trace or Trace([], [], [])))
