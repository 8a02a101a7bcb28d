"""The journal of a decoding run: the lines that are done, kept beside the output until it is over.

    <output>.journal     3f0c81aa {"format": "s2s-ft journal", "version": 1, "identity": {…}}
                         9b1d04e2 [17, "the output of row 17", null]
                         c07721d9 [4, "the output of row 4", null]
                         51b6e3f0 {"share": 0, "rows": 2}

Notable: a journal is only ever appended to, and synced after every share (see `lines/`). A line
begins with the CRC-32 of the rest, so whatever a kill, a full disk or a power cut leaves at its end
is known for what it is: all behind the last whole share is dropped. When the run ends, the lines
are read back in the order of their rows and the journal goes. One run at a time has it: the lock
goes with the process. A file of these names that is no journal is never touched.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.identity import check_same_run
from s2s_ft.decode.lines.outputs import Line

logger = logging.getLogger(__name__)

SUFFIX, OLD_SUFFIX = ".journal", ".journal.old"
_FORMAT = "s2s-ft journal"
_VERSION = 1
_MARK = 9
"""Bytes before the content of a line: eight hexadecimal digits and a space."""

_BEGINNING = json.dumps({"format": _FORMAT})[:-1].encode("ascii")
"""What the content of every journal's first line begins with."""


@dataclass
class _Content:
    """What of a journal holds.

    `identity` is None where not even the first line is whole; `size` is in bytes, up to the end of
    the last whole share; `spans` says where the line of each row stands: offset, length.
    """

    identity: Mapping[str, Any] | None = None
    size: int = 0
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)


class Journal:
    """Lines that come in any order, a share at a time, and survive whatever ends the process.

    A context manager: leaving it without an exception removes the file. With one, what is done
    stays, and the log says how to go on.

    Attributes:
        path: Of the journal.
    """

    def __init__(self, output: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        """Open the journal of an output, to go on with it or to begin anew.

        Args:
            output: The file that is to be written; its folder is made if it is not there.
            identity: What makes the run the run it is, in plain JSON (see `identity.py`).
            resume: Go on with the journal if there is one; else it is put aside.

        Raises:
            ValueError: The journal is of another run, and the message says what differs; or a file
                of its name, or of an older one's, is no journal.
            EnvironmentFault: Another process has it.
            OSError: It cannot be written.
        """
        self.path = output.with_name(output.name + SUFFIX)
        self._old = output.with_name(output.name + OLD_SUFFIX)
        for path in (self.path, self._old):
            _check_ours(path)
        output.parent.mkdir(parents=True, exist_ok=True)
        self._file = _claimed(self.path)
        try:
            self._content = self._begin(identity, resume=resume)
        except BaseException:
            self._file.close()
            raise

    def holds(self, rows: Iterable[int]) -> bool:
        """Whether all these rows are done."""
        return self._content.spans.keys() >= set(rows)

    def __len__(self) -> int:
        """How many rows are done."""
        return len(self._content.spans)

    def add(self, share: int, lines: Sequence[Line]) -> None:
        """Keep the lines of a share; when this returns they are on the disk.

        Rows that are kept already, from when an earlier version cut other shares, stay as they are.

        Raises:
            OSError: They are not.
        """
        content, offset = self._content, self._content.size
        spans, records = {}, []
        new = [line for line in lines if line.index not in content.spans]
        for line in new:
            record = _record([line.index, line.output, line.trace])
            spans[line.index] = (offset, len(record))
            records.append(record)
            offset += len(record)
        records.append(_record({"share": share, "rows": len(new)}))
        self._append(b"".join(records))
        content.spans |= spans

    def lines(self) -> Iterator[Line]:
        """All lines, in the order of their rows."""
        for index in sorted(self._content.spans):
            offset, length = self._content.spans[index]
            yield Line(*json.loads(os.pread(self._file.fileno(), length, offset)[_MARK:]))

    def __enter__(self) -> Journal:
        """Nothing to do: the file is open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the journal of a run that is over; keep that of one that is not."""
        with self._file:
            if kind is None:
                self._old.unlink(missing_ok=True)
            if kind is None or not self._content.spans:
                self.path.unlink(missing_ok=True)
                return
        logger.warning(
            "%d rows are done and kept in %s: the same command with --resume goes on from there",
            len(self),
            self.path,
        )

    def _begin(self, identity: Mapping[str, Any], *, resume: bool) -> _Content:
        """What is done already, the file cut to it; a new file where there is nothing."""
        content = _read(self.path)
        if content.identity is not None and resume:
            check_same_run(self.path, content.identity, identity)
            os.truncate(self._file.fileno(), content.size)
            logger.info("going on from %s: %d rows are done", self.path, len(content.spans))
            return content
        if content.spans:
            os.replace(self.path, self._old)
            self._file.close()
            self._file = _claimed(self.path)
            logger.warning(
                "%s held %d rows of a command that did not end; starting anew without --resume, it "
                "is now %s",
                self.path,
                len(content.spans),
                self._old,
            )
        os.truncate(self._file.fileno(), 0)
        self._content = _Content(identity)
        self._append(_record({"format": _FORMAT, "version": _VERSION, "identity": identity}))
        return self._content

    def _append(self, data: bytes) -> None:
        """Write at the end of what holds, so that a failed attempt leaves no hole."""
        rest, offset = memoryview(data), self._content.size
        while rest:
            written = os.pwrite(self._file.fileno(), rest, offset)
            rest, offset = rest[written:], offset + written
        os.fsync(self._file.fileno())
        self._content.size = offset


def _claimed(path: Path) -> BinaryIO:
    """The open file, if no other process has it."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "rb", closefd=True)
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        file.close()
        raise EnvironmentFault(
            f"{path} is in use: another process decodes to this --output_file; wait until it "
            "ends, or give another name"
        ) from fault
    except OSError as error:  # a file system without locks gives it to everybody
        logger.warning("%s cannot be locked (%s): start one run at a time", path, error)
    if os.fstat(file.fileno()).st_nlink == 0:  # its run ended between opening it and locking it
        file.close()
        return _claimed(path)
    return file


def _check_ours(path: Path) -> None:
    """Refuse a file that is no journal, nor what a kill or a power cut leaves of its first line.

    Raises:
        ValueError: The user's own file would be written over, or removed when the run ends.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        found = file.read(_MARK + len(_BEGINNING)).rstrip(b"\0")
    is_mark = re.fullmatch(rb"[0-9a-f]{0,8}|[0-9a-f]{8} ", found[:_MARK])
    if not is_mark or not _BEGINNING.startswith(found[_MARK:]):
        raise ValueError(
            f"--output_file: {path} is no journal of a decoding run, and one would take its place; "
            "move it away or give another --output_file"
        )


def _record(value: object) -> bytes:
    """A line of a journal."""
    content = json.dumps(value).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _read(path: Path) -> _Content:
    """What of a journal holds; whatever follows something torn or damaged does not."""
    found = _Content()
    with path.open("rb") as file:
        head = _value(file.readline()) or {}
        if head.get("format") != _FORMAT or head.get("version") != _VERSION:
            return found
        found.identity, found.size = head["identity"], file.tell()
        pending: dict[int, tuple[int, int]] = {}
        offset = found.size
        while (value := _value(raw := file.readline())) is not None:
            if isinstance(value, list):
                pending[value[0]] = (offset, len(raw))
            else:
                found.spans |= pending
                found.size, pending = offset + len(raw), {}
            offset += len(raw)
    return found


def _value(raw: bytes) -> Any:
    """What a line says, None where it is not whole."""
    if not raw.endswith(b"\n") or raw[:_MARK] != b"%08x " % zlib.crc32(raw[_MARK:-1]):
        return None
    return json.loads(raw[_MARK:-1])
