"""The arguments of a call from Python: checked, each by its name, and made into rows and the like.

Notable: a mistake is a `ValueError` that names the argument, whatever torch or a tokenizer would
make of it further on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set, Sized
from typing import Any

import torch

from s2s_ft.decode.lines.rows import Row, Text, phrases_of
from s2s_ft.text.codec import check_characters


def device_of(given: str | torch.device | None) -> torch.device | None:
    """The device that is asked for; None = whichever there is.

    Raises:
        ValueError: There is no such device, or none that decodes.
    """
    if given is None:
        return None
    try:
        device = torch.device(given)
    except (RuntimeError, TypeError) as fault:
        raise ValueError(f"device {given!r} is none: give cpu or cuda") from fault
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {given}: give cpu or cuda; others are not known here")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {given}: torch sees no GPU here; give cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {given}: torch sees {torch.cuda.device_count()} GPUs here")
    return device


def taken_words(key: str, options: dict[str, Any]) -> Sequence[str]:
    """The words of a list, taken out of the options; what the flag would take stays among them.
    A listed word is never looked for as a file, as programs pass on what their users say.

    Args:
        key: `bad_words` or `force_words`.
        options: Of the call; changed.

    Raises:
        ValueError: One of them is no text.
    """
    given = options.get(key)
    if isinstance(given, str):
        _check_text(key, given)
    if not isinstance(given, list | tuple):
        return ()
    for word in given:
        if not isinstance(word, str):
            raise ValueError(f"{key}: {word!r} is no word; give strings")
        _check_text(key, word)
    words: Sequence[str] = options.pop(key)
    return words


def rows_of(
    sources: Iterable[Text],
    prefixes: Sequence[Text | None] | None,
    phrases: Sequence[str | Sequence[str] | None] | None,
) -> list[Row]:
    """Sources as rows, with what is wanted of their outputs (see `Generator.generate`).

    Raises:
        ValueError: One of them is no text, or they do not belong to each other.
    """
    if isinstance(sources, str):
        raise ValueError("sources is one text: give a list of texts")
    if not isinstance(sources, Iterable):
        raise ValueError(f"sources is a {type(sources).__name__}: give a list of texts")
    sources = list(sources)
    for name, values in (("prefixes", prefixes), ("phrases", phrases)):
        if values is None:
            continue
        has_order = isinstance(values, Sized) and not isinstance(values, str | Set | Mapping)
        if not has_order:
            raise ValueError(f"{name} is a {type(values).__name__}: give a list, one a source")
        if len(values) != len(sources):
            raise ValueError(f"{name} has {len(values)} entries for {len(sources)} sources")
    return [
        Row(
            _text(f"source {number}", source),
            number + 1,
            prefix=_prefix(number, None if prefixes is None else prefixes[number]),
            force_words=_phrases(number, None if phrases is None else phrases[number]),
        )
        for number, source in enumerate(sources)
    ]


def _text(name: str, value: object) -> Text:
    """A text or a list of tokens."""
    if not isinstance(value, str | list):
        raise ValueError(f"{name} is a {type(value).__name__}: give text or tokens")
    for token in [value] if isinstance(value, str) else value:
        if not isinstance(token, str):
            raise ValueError(f"{name} has {token!r} among its tokens: give strings")
        _check_text(name, token)
    return value


def _prefix(number: int, value: object) -> Text:
    return "" if value is None else _text(f"prefix {number}", value)


def _phrases(number: int, value: object) -> tuple[str, ...]:
    """What an output must hold: a list, or text as a row of JSON lines has it."""
    name = f"phrases of source {number}"
    if value is None:
        return ()
    if not isinstance(value, str | list | tuple):
        raise ValueError(f"{name} is a {type(value).__name__}: give a list of strings")
    return phrases_of(_text(name, list(value) if isinstance(value, tuple) else value))


def _check_text(name: str, text: str) -> None:
    """Refuse what no tokenizer takes."""
    try:
        check_characters(text)
    except ValueError as fault:
        raise ValueError(f"{name}: {fault}") from fault
