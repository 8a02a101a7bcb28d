"""Reads predictions, references and sources: plain text or JSON lines, gzipped or not.

Notable: a file is JSON lines when its name says so (`.jsonl`, `.json`) or when its first row is a
JSON object with one of the keys that are looked for; decoding may have been given any name
for its output. Every complaint is a `ValueError` that names the flag, the file and the row.
"""

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2s_ft.data.labels import ID_KEY, require_same_row

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
    lines = _read_lines(path, flag)
    name = f"{flag} {path}"
    if not _is_json_lines(path, lines[0], keys):
        return Rows(name, lines, [None] * len(lines))
    while not lines[-1].strip() and len(lines) > 1:
        lines.pop()
    first_index: int | None = None
    values: list[str | list[str]] = []
    labels = []
    for number, line in enumerate(lines, start=1):
        place = f"{name}, line {number}"
        row = _object(line, place)
        # Decoding numbers its rows: a lost or moved row would be scored against another one's
        # reference.
        index = row.get("index")
        if "hypotheses" in row and isinstance(index, int):
            first_index = index if first_index is None else first_index
            if index != first_index + number - 1:
                raise ValueError(
                    f"{place}: `index` is {index} where {first_index + number - 1} comes next: "
                    "rows are missing or out of order; decode the file again"
                )
        values.append(_value(row, keys, place))
        labels.append(row.get(ID_KEY))
    return Rows(name, _texts(values), labels)


def has_key(path: str, key: str, *, flag: str) -> bool:
    """Whether a file is JSON lines whose first row has `key`."""
    return key in (_json_object_or_none(_read_lines(path, flag)[0]) or {})


def _read_lines(path: str, flag: str) -> list[str]:
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"{flag} {path}: this is a folder; give a file")
    if not file.exists():
        raise ValueError(f"{flag} {path}: there is no such file; check the path")
    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{flag} {path}: no intact gzip file ({error}); make it anew") from error
    content = content.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
    if not content:
        raise ValueError(f"{flag} {path}: the file is empty; give one row an example")
    rows = content.removesuffix(b"\n").split(b"\n")
    return [_decoded(row, f"{flag} {path}, line {n}") for n, row in enumerate(rows, start=1)]


def _decoded(row: bytes, place: str) -> str:
    try:
        return row.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{place}: not valid UTF-8 ({error.reason}); convert the file to UTF-8"
        ) from error


def _is_json_lines(path: str, first_line: str, keys: Sequence[str]) -> bool:
    name = path.removesuffix(".gz")
    row = _json_object_or_none(first_line)
    return name.endswith((".jsonl", ".json")) or (row is not None and any(k in row for k in keys))


def _json_object_or_none(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # thousands of brackets are text, too
        return None
    return row if isinstance(row, dict) else None


def _object(line: str, place: str) -> dict[str, Any]:
    if not line.strip():
        raise ValueError(f"{place}: an empty line among JSON lines; remove it")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not valid JSON ({error}); give one object a line") from error
    if not isinstance(row, dict):
        raise ValueError(f"{place}: a JSON object was expected, found {type(row).__name__}")
    return row


def _texts(values: list[str | list[str]]) -> list[str]:
    """The texts of rows; what knows of tokens is slow to import and seldom needed."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) == len(values):
        return texts
    from s2s_ft.text import spelled

    return spelled(values)


def _value(row: dict[str, Any], keys: Sequence[str], place: str) -> str | list[str]:
    key = next((key for key in keys if key in row), None)
    if key is None:
        wanted = " or ".join(f"`{key}`" for key in keys)
        raise ValueError(f"{place}: no key {wanted}; it has {', '.join(row) or 'none'}")
    value = row[key]
    if key == "hypotheses":
        value = _best_hypothesis(value, place)
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{place}: `{key}` holds no text; give a string or a list of strings")
    found: str | list[str] = value
    try:
        "".join(parts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{place}: `{key}` holds half a character (an escape such as \\ud83d on its own); "
            "write the whole character"
        ) from error
    return found


def _best_hypothesis(hypotheses: Any, place: str) -> Any:
    if not isinstance(hypotheses, list):
        raise ValueError(f"{place}: `hypotheses` is no list; give the hypotheses, best first")
    best = hypotheses[0] if hypotheses else ""
    return best.get("text") if isinstance(best, dict) else best
