"""What the server needs of a model; `model.py` is ours, tests bring their own.

Only the standard library is needed here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Settings = tuple[tuple[str, Hashable], ...]
"""The options that a request gives, sorted by name. Texts with equal settings may share a batch."""


class ModelFault(RuntimeError):  # noqa: N818 (a fault tells whose it is)
    """The model failed on texts and options that are in order: not the client's fault."""


@dataclass(frozen=True)
class Work:
    """One text to go on from.

    Attributes:
        text: the source.
        key: its place in its request, from 0; random numbers of a sample hang on it, so that they
            do not depend on what the text is batched with.
        prefix: what the output must begin with; empty for nothing.
    """

    text: str
    key: int
    prefix: str = ""


@dataclass(frozen=True)
class Output:
    """One output of a text.

    Attributes:
        text: what was generated.
        score: what outputs are ranked by; None for an empty source.
        log_probability: natural-log probability, summed over the tokens; None for an empty source.
        num_tokens: how many tokens, the end mark left out.
        finished: whether it ended by itself, and not at the maximum length.
    """

    text: str
    score: float | None
    log_probability: float | None
    num_tokens: int
    finished: bool


@dataclass(frozen=True)
class Generated:
    """What came of one text: its outputs, best first, and whether its source was cut to fit."""

    outputs: tuple[Output, ...]
    truncated: bool = False


class Backend(Protocol):
    """A loaded model. It is called from one thread at a time, always the same."""

    @property
    def name(self) -> str:
        """What to call the model, for people."""
        ...

    def decode(self, works: Sequence[Work], options: Mapping[str, Any]) -> list[Generated]:
        """Decode texts; what comes out for one must not depend on the others.

        Raises:
            ValueError: the options do not fit the model, or each other.
            ModelFault: the model failed.
        """
        ...
