"""Lines of a run's files as its page can count on them, whoever wrote or changed those files.

A value that is not of the kind that its name tells of (text for a number, NaN, a list for a text)
is left out, as if the line had never held it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from s2s_ft.train.lines import Line

_NUMBERS = frozenset(
    {
        "epoch",
        "loss",
        "learning_rate",
        "grad_norm",
        "target_tokens_per_second",
        "examples_per_second",
        "seconds",
        "peak_memory_bytes",
    }
)
_WHOLE = frozenset({"examples", "row"})
_TEXTS = frozenset({"source", "reference", "generated", "time", "ending"})
_OF_LOOKS = "dev_"

_LARGEST = 1e300
"""What is larger is no measure of anything, and would not fit an axis."""

_MOST_UPDATES = 2**53
"""Up to here whole numbers are exact as coordinates."""


def sound_lines(lines: Iterable[Line]) -> list[Line]:
    """The lines without values of the wrong kind, those left out that belong to no update."""
    return [
        {name: value for name, value in line.items() if _fits(name, value)}
        for line in lines
        if 0 <= line["step"] <= _MOST_UPDATES
    ]


def is_number(value: object) -> bool:
    """Whether a value is a number that can be drawn."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -_LARGEST < value < _LARGEST
    )


def _fits(name: str, value: object) -> bool:
    if name in _NUMBERS or name.startswith(_OF_LOOKS):
        return is_number(value)
    if name in _WHOLE:
        return is_number(value) and isinstance(value, int)
    if name in _TEXTS:
        return isinstance(value, str)
    return name != "versions" or isinstance(value, Mapping)


def group_of(options: Mapping[str, Any], title: str) -> Mapping[str, Any]:
    """A group of options; empty where the file does not know it."""
    group = options.get(title)
    return group if isinstance(group, Mapping) else {}
