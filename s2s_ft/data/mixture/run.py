"""The story of mixing languages: rows of several files, to one file in other shares.

    rows, checked and marked with their language -> a nameless file -> drawn -> written whole

Notable: the texts stay on the disk; in memory are a few numbers a row. A row keeps its bytes, but
that `"language"` stands at its end.
"""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from s2s_ft.data.examples import RawRow, missing_key, parsed_row, raw_rows, value_of
from s2s_ft.data.files import named_by, require_file
from s2s_ft.data.mixture.options import MixtureOptions
from s2s_ft.data.mixture.shares import allot, draw
from s2s_ft.storage.output_file import write_output, writing

logger = logging.getLogger(__name__)

LANGUAGE = "language"
"""Key that tells a row's language."""


class Spill:
    """Rows in a file without a name, to be had in any order."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Begin with an empty file."""
        self._stream = stream
        self._ends = array("q", [0])

    def add(self, line: bytes) -> None:
        """Put a row behind the others."""
        self._stream.write(line)
        self._ends.append(self._ends[-1] + len(line))

    def lines(self, order: npt.NDArray[np.int64]) -> Iterator[str]:
        """The rows with these indices, [N] int64."""
        for index in order.tolist():
            self._stream.seek(self._ends[index])
            yield self._stream.read(self._ends[index + 1] - self._ends[index]).decode("utf-8")


def mix(options: MixtureOptions) -> int:
    """Draw rows of several languages and write them, shuffled.

    Returns:
        Exit code 0.

    Raises:
        ValueError: A file is missing or empty, or a row is not one of training; the message names
            file and line.
        OSError: The output, or the nameless file beside it, cannot be written.
    """
    output = Path(options.output_file)
    for file in options.files.values():
        require_file(file, "--train_files")
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        nameless = TemporaryFile(dir=output.parent)  # noqa: SIM115 (closed by the next statement)
    with nameless as stream:
        rows = Spill(stream)
        counts = [_read(options, language, rows) for language in options.files]
        num_rows = sum(counts) if options.num_rows is None else options.num_rows
        drawn = allot(counts, options.temperature, num_rows)
        _tell(options, counts, drawn)
        write_output(output, rows.lines(draw(counts, drawn, options.seed)))
    logger.info("%s rows are in %s", f"{num_rows:,}", output)
    return 0


def _read(options: MixtureOptions, language: str, rows: Spill) -> int:
    """Add the rows of a language; returns their number."""
    file = options.files[language]
    count = 0
    with named_by("--train_files", file):
        for row in raw_rows(Path(file)):
            rows.add(_marked(row, _checked(row, options), language))
            count += 1
    if not count:
        raise ValueError(f"--train_files {file}: holds no rows; leave {language} out or fill it")
    return count


def _checked(row: RawRow, options: MixtureOptions) -> Mapping[str, Any]:
    """What a row holds, if one can train on it; later, nobody would know where it came from."""
    fields = parsed_row(row)
    source = value_of(row, fields, options.source_key)
    if not source or not "".join(source).strip():
        if source is None:
            raise missing_key(row, fields, options.source_key, "--source_key")
        raise row.fault(f"{options.source_key!r} is empty; fill it or remove the row")
    if value_of(row, fields, options.target_key) is None:
        raise missing_key(row, fields, options.target_key, "--target_key")
    return fields


def _marked(row: RawRow, fields: Mapping[str, Any], language: str) -> bytes:
    """A row's line, its end included, with its language; one that it names itself stays."""
    line = row.raw.strip()
    if LANGUAGE not in fields:
        mark = json.dumps({LANGUAGE: language}, ensure_ascii=False)
        line = line[:-1].rstrip() + b", " + mark[1:].encode("utf-8")
    elif not isinstance(fields[LANGUAGE], str):
        raise row.fault(f"{LANGUAGE!r} is no text; correct it or leave it out")
    return line + b"\n"


def _tell(options: MixtureOptions, counts: Sequence[int], drawn: Sequence[int]) -> None:
    """Log what becomes of each language, as a table."""
    rows = [("language", "rows there", "rows drawn", "share", "times repeated")]
    for language, count, wanted in zip(options.files, counts, drawn, strict=True):
        share = f"{100 * wanted / sum(drawn):.1f} %"
        rows.append((language, f"{count:,}", f"{wanted:,}", share, f"{wanted / count:.2f}"))
        if not wanted:
            logger.warning("no row of %s is drawn: its share is less than one row", language)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    logger.info("drawn at temperature %g:\n%s", options.temperature, "\n".join(lines))
