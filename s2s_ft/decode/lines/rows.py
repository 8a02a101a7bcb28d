"""The rows of an input: JSON lines or plain lines of text, from a file, a packed file or standard
input.

    {"src": "…", "prefix": "…", "force_words": ["…", "…"], "id": "x17"}   jsonl; only src is needed
    the source, and nothing else                                          text

With `--tokenized_input` a source holds tokens with spaces between, which are only looked up.

Notable: a row of text is a line of its file, so an empty line is a row with an empty source, where
JSON lines may only end with empty ones. What is wrong with a row is a `ValueError` that names the
input and the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from s2s_ft.cli import standard_input
from s2s_ft.data.examples import RawRow, missing_key, parsed_row, refuse_half_characters, value_of
from s2s_ft.data.files import BYTE_ORDER_MARK, TABLES, named_by, open_data
from s2s_ft.data.labels import ID_KEY
from s2s_ft.options.decode import DecodeDataOptions

STANDARD = "-"
"""What `--input_file` and `--output_file` call standard input and output."""

PREFIX_KEY, FORCE_WORDS_KEY = "prefix", "force_words"

_FORMAT_OF_ENDING = {".txt": "text", ".text": "text", ".jsonl": "jsonl", ".json": "jsonl"}

Text = str | list[str]
"""Text that is tokenised, or a list of tokens that are looked up."""


@dataclass(frozen=True)
class Row:
    """One row as it came in.

    Attributes:
        source: What to read.
        line: Its line in the input, from 1.
        prefix: How its output begins; empty = free.
        force_words: What its output must hold, wherever.
        label: Its `id` as the row has it, whatever kind of JSON that is; None where it has none.
    """

    source: Text
    line: int
    prefix: Text = ""
    force_words: tuple[str, ...] = ()
    label: Any = None


class RowReader:
    """Makes rows of the lines of one input.

    Args:
        options: Names the input, its format and the keys.
    """

    def __init__(self, options: DecodeDataOptions) -> None:
        """Settle the format where the input's name tells it."""
        self._options = options
        self._file = Path(name_of(options.input_file))
        self._format = _format_by_name(options)
        self._blank: RawRow | None = None

    def row(self, line: int, raw: bytes) -> Row | None:
        """The row of a line.

        Args:
            line: Its number, from 1; lines are given in order.
            raw: The line, with or without its line feed.

        Returns:
            None for a blank line of JSON lines, after which none but blank ones may come.

        Raises:
            ValueError: The line is not as it should be.
        """
        if line == 1:
            raw = raw.removeprefix(BYTE_ORDER_MARK)
        if not self._format:
            self._format = "jsonl" if raw.lstrip().startswith((b"{", b"[")) else "text"
        here = RawRow(self._file, line, raw)
        row = Row(here.text(), line) if self._format == "text" else self._json_row(here)
        if row is None or not self._options.tokenized_input or not isinstance(row.source, str):
            return row
        return replace(row, source=row.source.split())

    def _json_row(self, here: RawRow) -> Row | None:
        if not here.raw.strip():
            self._blank = self._blank or here
            return None
        if self._blank is not None:
            raise self._blank.fault("the line is blank; remove it")
        fields = parsed_row(here)
        source = value_of(here, fields, self._options.source_key)
        value_of(here, fields, self._options.target_key)  # is not used, and still no place for a 5
        if source is None:
            raise missing_key(here, fields, self._options.source_key, "--source_key")
        return Row(
            source,
            here.line,
            prefix=value_of(here, fields, PREFIX_KEY) or "",
            force_words=phrases_of(value_of(here, fields, FORCE_WORDS_KEY)),
            label=self._label(here, fields),
        )

    def _label(self, here: RawRow, fields: dict[str, Any]) -> Any:
        """The `id` of a row, which must be JSON again where it is written."""
        label = fields.get(ID_KEY)
        if self._options.output_format == "jsonl":
            try:  # Python reads NaN, and 1e400 as an infinity
                written = json.dumps(label, allow_nan=False, ensure_ascii=False)
            except ValueError as fault:
                raise here.fault(
                    f"{ID_KEY!r} holds a number that JSON cannot hold (NaN, or one beyond "
                    "1.8e308); write it as text or leave it out"
                ) from fault
            refuse_half_characters(here, ID_KEY, written)
        return label


def read_rows(options: DecodeDataOptions) -> Iterator[Row]:
    """All rows of the input, or the first `--subset` of them.

    Raises:
        ValueError: A row is not as it should be, or there is none.
        EnvironmentFault: Standard input is closed.
        OSError: The input cannot be read.
    """
    reader, found = RowReader(options), False
    for row in islice(_rows(reader, options), options.subset if options.subset > 0 else None):
        found = True
        yield row
    if not found:
        raise ValueError(f"{name_of(options.input_file)}: holds no rows; give one a line")


def name_of(input_file: str) -> str:
    """An input as messages call it: a file with its flag."""
    others = {STANDARD: "standard input", "": "what was typed"}
    return others.get(input_file, f"--input_file {input_file}")


def stem_of(input_file: str) -> str:
    """The name of an input without its folder and the endings that tell its format."""
    name = Path(input_file).name.removesuffix(".gz")
    return Path(name).stem if Path(name).suffix.lower() in _FORMAT_OF_ENDING else name


def _rows(reader: RowReader, options: DecodeDataOptions) -> Iterator[Row]:
    if options.input_file == STANDARD:
        yield from _rows_of(reader, standard_input().buffer)
    else:
        with (
            named_by("--input_file", options.input_file),
            open_data(options.input_file) as stream,
        ):
            yield from _rows_of(reader, stream)


def _rows_of(reader: RowReader, lines: Iterable[bytes]) -> Iterator[Row]:
    for number, raw in enumerate(lines, start=1):
        row = reader.row(number, raw)
        if row is not None:
            yield row


def _format_by_name(options: DecodeDataOptions) -> str:
    """`text` or `jsonl`, or nothing where the first line has to tell."""
    if options.input_format != "auto":
        return options.input_format
    ending = Path(options.input_file.removesuffix(".gz")).suffix.lower()
    if ending in TABLES:
        raise ValueError(
            f"--input_file {options.input_file} is a table by its name, whose header and columns "
            "would be read as text: make JSON lines of it, or give --input_format text"
        )
    return _FORMAT_OF_ENDING.get(ending, "")


def phrases_of(value: Text | None) -> tuple[str, ...]:
    """What a row says must appear: a list, or text with | between."""
    phrases = value.split("|") if isinstance(value, str) else value or []
    return tuple(phrase for phrase in phrases if phrase.strip())
