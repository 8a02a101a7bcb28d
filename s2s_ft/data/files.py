"""Opening the files that users name: what is missing, damaged or no file is told in their words."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"
TABLES = (".csv", ".tsv")
"""Endings of files that are no rows of text or JSON, whatever their lines look like."""


def require_file(path: str | Path, flag: str | None = None, *, rereads: bool = False) -> None:
    """Make sure that there is a data file, before anything slow is done.

    Args:
        path: As it was given.
        flag: The flag that named it, for messages.
        rereads: Whether it will be read more than once, which a pipe cannot be.

    Raises:
        ValueError: There is none, it is a folder, or it cannot be read again.
    """
    named = f"{path}" if flag is None else f"{flag} {path}"
    if not Path(path).exists():
        raise ValueError(f"{named}: there is no such file; check the path")
    if Path(path).is_dir():
        raise ValueError(f"{named}: is a folder; name the file itself")
    if rereads and not Path(path).is_file():
        raise ValueError(
            f"{named}: is a pipe or a device, which can be read only once; write it into a file "
            "and name that"
        )


@contextmanager
def named_by(flag: str, path: str | Path) -> Iterator[None]:
    """Name a flag in front of what is said inside of the file that it names."""
    try:
        yield
    except ValueError as fault:
        if not str(fault).startswith((str(path), str(Path(path)))):
            raise
        raise ValueError(f"{flag} {fault}") from fault


@contextmanager
def open_data(path: str | Path) -> Iterator[IO[bytes]]:
    """Opens a data file for reading bytes, unpacked if it is gzip.

    Args:
        path: A file; it is opened once, so it may also be a pipe.

    Yields:
        The stream of its (unpacked) bytes.

    Raises:
        ValueError: There is no such file, it is a folder, or its gzip data is damaged.
        OSError: It cannot be opened or read.
    """
    require_file(path)
    with open(path, "rb") as packed:
        if packed.peek(len(GZIP_MAGIC))[: len(GZIP_MAGIC)] != GZIP_MAGIC:
            yield packed
            return
        try:
            with gzip.GzipFile(fileobj=packed) as unpacked:
                yield cast("IO[bytes]", unpacked)
        except (gzip.BadGzipFile, EOFError, zlib.error) as fault:
            raise ValueError(
                f"{path}: the gzip data is damaged ({fault}); make or copy the file again"
            ) from fault
