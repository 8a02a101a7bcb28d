"""Reads predictions, references and sources: plain text or JSON lines, gzipped or not.

Notable: a file is JSON lines when its name says so (`.jsonl`, `.json`) or when its first row is a
JSON object with one of the keys that are looked for; decoding may have been given any name
for its output. Every complaint is a `ValueError` that names the flag, the file and the row.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2s_ft.data.examples import RawRow, lines_of, parsed_row, value_of, without_blank_end
from s2s_ft.data.files import TABLES, named_by
from s2s_ft.data.labels import ID_KEY, require_same_row

logger = logging.getLogger(__name__)

PREDICTION_KEYS = ("hypotheses", "pred", "text")


@dataclass(frozen=True)
class Rows:
    """The rows of a file.

    Attributes:
        name: The file with the flag that named it, for messages.
        texts: One text a row.
        labels: The `id` of each row, None where it has none.
    """

    name: str
    texts: list[str]
    labels: list[Any]

    def require_pairs_with(self, other: "Rows") -> None:
        """Make sure that row n of this file can belong to row n of another.

        Raises:
            ValueError: There are more rows in one of them, or two rows have different `id`.
        """
        if len(self.texts) != len(other.texts):
            raise ValueError(
                f"{self.name} has {len(self.texts)} rows, but {other.name} has "
                f"{len(other.texts)}: row n of the one belongs to row n of the other; give files "
                "of the same data set, whole"
            )
        for line, (own, theirs) in enumerate(zip(self.labels, other.labels, strict=True), start=1):
            require_same_row(line, (self.name, own), (other.name, theirs))


def read_predictions(path: str) -> list[str]:
    """Read `--pred`: each row's text or best hypothesis; an empty line is an empty prediction.

    Raises:
        ValueError: The file cannot be read, a row is bad, or rows of decoding are missing or out
            of order.
    """
    return read_texts(path, PREDICTION_KEYS, flag="--pred")


def read_texts(path: str, keys: Sequence[str], *, flag: str) -> list[str]:
    """Read one text a row; as `read_rows`, for a file that is taken with no other."""
    return read_rows(path, keys, flag=flag).texts


def read_rows(path: str, keys: Sequence[str], *, flag: str) -> Rows:
    """Read the rows of a file.

    Args:
        path: File of plain text, one line a text, or of JSON lines.
        keys: Keys under which a JSON object may hold its text, the first one that is there
            counts. A list of tokens stands for the text that they spell.
        flag: The flag that named the file, for messages.

    Returns:
        The rows in order, at least one.

    Raises:
        ValueError: The file is missing, empty, no UTF-8, or a row is bad.
    """
    name = f"{flag} {path}"
    with named_by(flag, path):
        rows = list(lines_of(Path(path)))
        if not _is_json_lines(path, rows, keys):
            if Path(path.removesuffix(".gz")).suffix.lower() in TABLES:
                logger.warning(
                    "%s is a table by its name: each line is scored as it stands, a header, too",
                    name,
                )
            values: list[str | list[str]] = [row.text() for row in rows]
            labels: list[Any] = [None] * len(rows)
        else:
            rows = list(without_blank_end(rows))
            fields = [parsed_row(row) for row in rows]
            _require_order(rows, fields)
            values = [_value(*each, keys) for each in zip(rows, fields, strict=True)]
            labels = [each.get(ID_KEY) for each in fields]
    if not values:
        raise ValueError(f"{name}: the file is empty; give one row an example")
    return Rows(name, _texts(values), labels)


def has_key(path: str, key: str, *, flag: str) -> bool:
    """Whether a file is JSON lines whose first row has `key`."""
    with named_by(flag, path):
        return key in _first_object(lines_of(Path(path)))


def _is_json_lines(path: str, rows: list[RawRow], keys: Sequence[str]) -> bool:
    name = path.removesuffix(".gz")
    return name.endswith((".jsonl", ".json")) or not _first_object(rows).keys().isdisjoint(keys)


def _first_object(rows: Iterable[RawRow]) -> dict[str, Any]:
    """What the first row holds; empty where that is no JSON object."""
    for row in rows:
        try:
            return parsed_row(row)
        except ValueError:  # thousands of brackets are text, too
            break
    return {}


def _require_order(rows: Sequence[RawRow], fields: Sequence[dict[str, Any]]) -> None:
    """Make sure that no row of decoding, which numbers them, is lost or has moved: it would be
    scored against another one's reference.
    """
    first: int | None = None
    for place, (row, each) in enumerate(zip(rows, fields, strict=True)):
        index = each.get("index")
        if "hypotheses" not in each or not isinstance(index, int):
            continue
        first = index if first is None else first
        if index != first + place:
            raise row.fault(
                f"`index` is {index} where {first + place} comes next: rows are missing or out of "
                "order; decode the file again"
            )


def _texts(values: list[str | list[str]]) -> list[str]:
    """The texts of rows; what knows of tokens is slow to import and seldom needed."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) == len(values):
        return texts
    from s2s_ft.text import spelled

    return spelled(values)


def _value(row: RawRow, fields: dict[str, Any], keys: Sequence[str]) -> str | list[str]:
    key = next((key for key in keys if key in fields), None)
    if key is None:
        wanted = " or ".join(f"`{key}`" for key in keys)
        raise row.fault(f"no key {wanted}; it has {', '.join(fields) or 'none'}")
    if key == "hypotheses":
        fields = {key: _best_hypothesis(row, fields[key])}
    value = value_of(row, fields, key)
    if value is None:
        raise row.fault(f"`{key}` holds no text; give a string or a list of strings")
    return value


def _best_hypothesis(row: RawRow, hypotheses: Any) -> Any:
    if not isinstance(hypotheses, list):
        raise row.fault("`hypotheses` is no list; give the hypotheses, best first")
    best = hypotheses[0] if hypotheses else ""
    return best.get("text") if isinstance(best, dict) else best
