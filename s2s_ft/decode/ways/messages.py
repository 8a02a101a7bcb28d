"""What processes that decode together tell one another, as JSON holds it: items, lines and faults.

Notable: a fault travels as its kind and its message, and the receiver raises the same kind, so that
a run ends with the same exit code and the same line wherever the fault was.
"""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.lines.outputs import Line
from s2s_ft.decode.lines.sources import Item
from s2s_ft.decode.search.requests import Request

_KINDS: tuple[type[Exception], ...] = (EnvironmentFault, ValueError, OSError)
"""Kinds that have an exit code of their own (see `cli`); the first that fits counts."""


def item_to(item: Item) -> list[Any]:
    """An item for a message."""
    request = item.request
    return [
        request.key,
        request.source.tolist(),
        request.prefix,
        request.phrases,
        item.line,
        item.label,
    ]


def item_from(message: list[Any]) -> Item:
    """The item of a message."""
    key, source, prefix, phrases, line, label = message
    request = Request(
        key=key,
        source=np.array(source, dtype=np.int64),
        prefix=tuple(prefix),
        phrases=tuple(map(tuple, phrases)),
    )
    return Item(request, line, label)


def line_to(line: Line) -> list[Any]:
    """A line for a message."""
    return [line.index, line.output, line.trace, line.lacks_words]


def line_from(message: list[Any]) -> Line:
    """The line of a message."""
    return Line(*message)


def fault_of(fault: Exception) -> dict[str, Any]:
    """A fault for a message; one of ours is shown here, as only its last line travels."""
    kind = next((each.__name__ for each in _KINDS if isinstance(fault, each)), None)
    if kind is None:
        traceback.print_exception(fault)
        return {"kind": None, "message": f"{type(fault).__name__}: {fault}"}
    return {"kind": kind, "message": str(fault)}


def raised(message: dict[str, Any]) -> Exception:
    """The fault of a message, to be raised; of an unknown kind it is the other process's."""
    kinds = {kind.__name__: kind for kind in _KINDS}
    if message["kind"] in kinds:
        return kinds[message["kind"]](message["message"])
    return EnvironmentFault(f"a process of this run failed: {message['message']}")
