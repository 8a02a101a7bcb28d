"""Reads and checks the rows of a JSON-lines file.

Holds `Example` and `read_examples`, which goes through a file once and in constant memory.

Notable: every row is checked where it stands, so that a fault names the file, the line and what to
do about it. UTF-8 is read strictly (a byte-order mark is skipped) and only a line feed ends a row.
Whatever the user can get wrong is a `ValueError`; a file that may not be read stays an `OSError`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from s2s_ft.data.files import BYTE_ORDER_MARK, open_data
from s2s_ft.data.labels import ID_KEY

TO_JSON_LINES = (
    'python -c "import json,sys; '
    '[print(json.dumps(row)) for row in json.load(sys.stdin)]" < OLD.json > NEW.jsonl'
)


@dataclass(frozen=True)
class Example:
    """One row: what to read and, where known, what to write.

    Attributes:
        source: Text, or a list of tokens that are only looked up.
        target: The same for the wanted output; None where the row has none.
        line: Its line in the file, counted from 1.
        label: Its `id`, whatever kind of JSON that is; None where it has none.
    """

    source: str | list[str]
    target: str | list[str] | None
    line: int
    label: Any = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read; training refuses that."""
        return not (self.source.strip() if isinstance(self.source, str) else self.source)


@dataclass(frozen=True)
class _RowFormat:
    """What a row has to look like."""

    source_key: str
    target_key: str
    target_required: bool
    allow_empty_source: bool


@dataclass(frozen=True)
class RawRow:
    """One line of the file and where it stands."""

    file: Path
    line: int
    raw: bytes

    def fault(self, message: str) -> ValueError:
        """The one-line error for this row."""
        return ValueError(f"{self.file}, line {self.line}: {message}")

    def text(self) -> str:
        """The line without its end.

        Raises:
            ValueError: It is not UTF-8.
        """
        try:
            return self.raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as fault:
            raise self.fault(
                f"not UTF-8 (byte {fault.start + 1} of the line is 0x{self.raw[fault.start]:02x}); "
                "convert the file, for example with iconv -t UTF-8"
            ) from fault


def read_examples(
    path: str | Path,
    *,
    source_key: str = "src",
    target_key: str = "tgt",
    target_required: bool = True,
    allow_empty_source: bool = False,
    limit: int | None = None,
) -> Iterator[Example]:
    """Yields the rows of a JSON-lines file in order.

    Args:
        path: `.jsonl` or `.json` with one object per line; gzip is recognised by its first bytes.
        source_key: Name of the value to read.
        target_key: Name of the value to write.
        target_required: Whether a row without a target is a fault (training) or fine (decoding).
        allow_empty_source: Whether an empty source is fine (decoding) or a fault (training).
        limit: Read only this many rows; None = all.

    Yields:
        One checked `Example` per row.

    Raises:
        ValueError: The file or a row is not as described; one line that names file and line.
        OSError: The file cannot be opened or read.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"--num_train_examples must be at least 1, not {limit}")
    file = Path(path)
    row_format = _RowFormat(source_key, target_key, target_required, allow_empty_source)
    example = None
    for row in itertools.islice(raw_rows(file), limit):
        example = _example(row, row_format)
        yield example
    if example is None:
        raise ValueError(f"{file}: the file holds no rows; give one JSON object per line")


def raw_rows(file: Path) -> Iterator[RawRow]:
    """Yields every row of JSON lines; raises as `lines_of` and `without_blank_end` do."""
    return without_blank_end(lines_of(file))


def lines_of(file: Path) -> Iterator[RawRow]:
    """Yields every line of a file, without a byte order mark; raises as `open_data` does."""
    with open_data(file) as stream:
        for number, raw in enumerate(stream, start=1):
            yield RawRow(file, number, raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw)


def without_blank_end(rows: Iterable[RawRow]) -> Iterator[RawRow]:
    """Passes the rows of JSON lines on; blank lines may only stand at their end.

    Raises:
        ValueError: A line between others is blank.
    """
    blank: RawRow | None = None
    for row in rows:
        if not row.raw.strip():
            blank = blank or row
            continue
        if blank is not None:
            raise blank.fault("the line is blank; remove it")
        yield row


def _example(row: RawRow, row_format: _RowFormat) -> Example:
    """Parses and checks one row."""
    fields = parsed_row(row)
    source = value_of(row, fields, row_format.source_key)
    target = value_of(row, fields, row_format.target_key)
    if source is None:
        raise missing_key(row, fields, row_format.source_key, "--source_key")
    if target is None and row_format.target_required:
        raise missing_key(row, fields, row_format.target_key, "--target_key")
    example = Example(source, target, row.line, fields.get(ID_KEY))
    if example.is_empty and not row_format.allow_empty_source:
        raise row.fault(f"{row_format.source_key!r} is empty; fill it or remove the row")
    return example


def parsed_row(row: RawRow) -> dict[str, Any]:
    """Decode one line to a JSON object.

    Raises:
        ValueError: It is none; file, line and what to do are named.
    """
    if row.line == 1 and row.raw.lstrip().startswith(b"["):
        raise row.fault(
            f"a JSON array, but one JSON object per line is needed; convert it: {TO_JSON_LINES}"
        )
    text = row.text()
    try:
        fields = json.loads(text)
    # ValueError also covers a number of thousands of digits, RecursionError brackets as deep.
    except (ValueError, RecursionError) as fault:
        reason = str(fault)
        if isinstance(fault, json.JSONDecodeError):  # its own text counts lines inside the row
            reason = f"{fault.msg}, column {fault.colno}"
        raise row.fault(
            f'not JSON ({reason}); each line must hold one whole JSON object such as {{"src": '
            '"...", "tgt": "..."}'
        ) from fault
    if not isinstance(fields, dict):
        raise row.fault(
            f'holds {_json_name(fields)}; each line must be an object like {{"src": "..."}}'
        )
    return fields


def missing_key(row: RawRow, fields: dict[str, Any], key: str, flag: str) -> ValueError:
    """The error for a key that is absent or null."""
    if key in fields:
        return row.fault(f"{key!r} is null; fill it or remove the row")
    keys = ", ".join(map(repr, fields)) or "none"
    return row.fault(f"no {key!r} (keys here: {keys}); add it or name another key with {flag}")


def value_of(row: RawRow, fields: dict[str, Any], key: str) -> str | list[str] | None:
    """Take a string or a list of strings out of a row; None where it is absent or null.

    Raises:
        ValueError: It is something else; file, line and what to do are named.
    """
    value = fields.get(key)
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    wrong = [item for item in items if not isinstance(item, str)]
    if wrong:
        inside = "a list that holds " if isinstance(value, list) else ""
        raise row.fault(
            f"{key!r} is {inside}{_json_name(wrong[0])}; it must be a string or a list of strings "
            "(tokens)"
        )
    refuse_half_characters(row, key, "".join(items))
    return cast("str | list[str]", value)


def refuse_half_characters(row: RawRow, key: str, text: str) -> None:
    """Raise a ValueError that names file and line where a key's text could not be written."""
    if re.search("[\ud800-\udfff]", text):
        raise row.fault(
            f"{key!r} holds half a character (an escape such as \\ud83d on its own); write the "
            "whole character"
        )


def _json_name(value: object) -> str:
    """What JSON calls a value, with its article."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
