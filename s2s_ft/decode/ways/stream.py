"""Rows in, lines out, one by one: what `--output_file -` does.

Notable: a line goes out, flushed, as soon as it and all before it are known. What is there is
decoded; when the input pauses nobody waits for more of it, and when it never pauses rows are taken
as the batch has room, so neither memory nor the wait for a line grows with the input. A bad row,
or an input that cannot be read any further, ends the run after the lines of those before it.
"""

from __future__ import annotations

import logging
import os
import select
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import IO, Protocol

from s2s_ft.cli import standard_input, standard_output
from s2s_ft.data.files import named_by, open_data
from s2s_ft.decode.decoder import Decoder
from s2s_ft.decode.lines.outputs import Line
from s2s_ft.decode.lines.rows import STANDARD, Row, RowReader, name_of
from s2s_ft.decode.lines.sources import Item, longest_first

logger = logging.getLogger(__name__)

LOOK_AHEAD = 4
"""Batches that are read ahead, to bring rows of similar length together."""

BYTES_AT_ONCE = 2**16

UNREADABLE = (OSError, EOFError, zlib.error)
"""What says that an input, packed or not, cannot be read any further."""


class Lines(Protocol):
    """Where the lines of an input come from."""

    def take(self, most: int, *, wait: bool) -> list[bytes]:
        """At most `most` further lines: those that are there, at least one if `wait`.

        An empty list means that nothing is there, or with `wait` that the input has ended.

        Raises:
            OSError, EOFError, zlib.error: It cannot be read any further; all lines before have been
                taken.
        """


class PipeLines:
    """The lines of a pipe or a terminal, which may pause.

    Args:
        descriptor: Its file number.
    """

    def __init__(self, descriptor: int) -> None:
        """Begin where the pipe is."""
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._rest: list[bytes] = []  # of a line whose end has not come yet
        self._has_ended = False

    def take(self, most: int, *, wait: bool) -> list[bytes]:
        """See `Lines`."""
        while len(self._lines) < most and not self._has_ended:
            if not self._is_ready(wait=wait and not self._lines):
                break
            self._read()
        taken, self._lines = self._lines[:most], self._lines[most:]
        return taken

    def _is_ready(self, *, wait: bool) -> bool:
        """Whether reading will not block, or is to."""
        return wait or bool(select.select([self._descriptor], [], [], 0)[0])

    def _read(self) -> None:
        data = os.read(self._descriptor, BYTES_AT_ONCE)
        self._has_ended = not data
        first, *others = data.split(b"\n")
        self._rest.append(first)
        if others or self._has_ended:
            whole = [b"".join(self._rest), *others]
            self._rest = [whole.pop()] if others else []
            self._lines += whole if others or whole[0] else []


class FileLines:
    """The lines of a file, which never pauses."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Begin where the file is."""
        self._stream = stream
        self._fault: Exception | None = None

    def take(self, most: int, *, wait: bool) -> list[bytes]:
        """See `Lines`."""
        taken: list[bytes] = []
        try:
            if self._fault is None:
                taken.extend(islice(self._stream, most))  # keeps what came before a fault
        except UNREADABLE as fault:
            self._fault = fault
        if self._fault is not None and not taken:
            raise self._fault
        return taken


class Feed:
    """Items as they come in, in windows.

    Attributes:
        tally: Of the items that were handed out.
        num_lacking: Their outputs that lack forced words.
    """

    def __init__(self, lines: Lines, decoder: Decoder) -> None:
        """Take lines from `lines`; what becomes of them is the decoder's to say."""
        self.tally = decoder.reading.tally()
        self.num_lacking = 0
        self._lines = lines
        self._decoder = decoder
        self._reader = RowReader(decoder.options.data)
        self._window = LOOK_AHEAD * decoder.budget.max_examples
        self._left = decoder.options.data.subset if decoder.options.data.subset > 0 else None
        self._number = 0
        self._is_over = False
        self._fault: Exception | None = None

    def wait(self) -> list[Item]:
        """The next items as soon as there are any; none when the input has ended.

        Raises:
            ValueError: the row after those that were handed out is not as it should be.
            OSError, EOFError, zlib.error: or cannot be read.
        """
        while not (items := self._take(wait=True)):
            if self._fault is not None:
                raise self._fault
            if self._is_over:
                return []
        return items

    def more(self, items: list[Item]) -> Iterator[Item | None]:
        """Some items, and then whatever has come in; None wherever nothing has."""
        while not self._is_over:
            yield from longest_first(items)
            items = self._take(wait=False)
            if not items:
                yield None

    def _take(self, *, wait: bool) -> list[Item]:
        most = self._window if self._left is None else min(self._window, self._left)
        if self._fault is not None or not most:
            self._is_over = True
            return []
        try:
            raw = self._lines.take(most, wait=wait)
        except UNREADABLE as fault:
            self._fault = fault
            return []
        self._is_over = wait and not raw
        items: list[Item] = []
        try:
            read = self._decoder.reading.items(self._rows(raw), self.tally.num_rows)
            items.extend(item for item in self._decoder.checked(read) if item is not None)
        except ValueError as fault:  # of an earlier row than the one that could not be read
            self._fault = fault
        self.tally.add(items)
        if self._left is not None:
            self._left -= len(items)
        return items

    def _rows(self, lines: list[bytes]) -> Iterator[Row]:
        """The rows of lines, up to the first that is not as it should be."""
        for raw in lines:
            self._number += 1
            try:
                row = self._reader.row(self._number, raw)
            except ValueError as fault:
                self._fault = fault
                return
            if row is not None:
                yield row


class InOrder:
    """Puts lines out in the order of their rows, each as soon as it is its turn."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Write to `stream`."""
        self._stream = stream
        self._waiting: dict[int, Line] = {}
        self._next = 0

    def put(self, line: Line) -> None:
        """Write a line and those that waited for it, or let it wait.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        self._waiting[line.index] = line
        ready = []
        while self._next in self._waiting:
            ready.append(self._waiting.pop(self._next).output)
            self._next += 1
        if ready:
            text = "".join(f"{each}\n" for each in ready)
            self._stream.write(text.encode("utf-8", errors="replace"))
            self._stream.flush()


def stream(decoder: Decoder) -> Feed:
    """Decode the input of a run to standard output.

    Returns:
        The feed, which knows what was seen.

    Raises:
        ValueError: a row is not as it should be, or there is none.
        BrokenPipeError: nobody reads the output any more.
        EnvironmentFault: standard input or output is closed.
    """
    data = decoder.options.data
    if data.input_file == STANDARD:
        feed = Feed(PipeLines(standard_input().fileno()), decoder)
        _decode(feed, decoder)
    else:
        with named_by("--input_file", data.input_file), open_data(data.input_file) as file:
            feed = Feed(FileLines(file), decoder)
            _decode(feed, decoder)
    if not feed.tally.num_rows:
        raise ValueError(f"{name_of(data.input_file)}: holds no rows; give one a line")
    return feed


def _decode(feed: Feed, decoder: Decoder) -> None:
    out = InOrder(standard_output().buffer)
    with decoder.at_work():
        while items := feed.wait():
            for line in decoder.lines(feed.more(items)):
                feed.num_lacking += line.lacks_words
                out.put(line)
