"""What the server needs of a model; `model.py` is ours, tests bring their own.

Only the standard library is needed here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
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
        text: the source; a list holds tokens that are only looked up.
        key: its place in its request, from 0; random numbers of a sample hang on it, so that they
            do not depend on what the text is batched with.
        prefix: what the output must begin with; empty for nothing.
    """

    text: str | list[str]
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


Outcome = Generated | Exception
"""What came of one text, or what went wrong with it alone."""


@dataclass(eq=False)
class Task:
    """One text on its way through the model.

    Attributes:
        prepared: the text, as `Backend.prepare` made it ready.
        is_wanted: turns False when nobody waits for it any more.
    """

    prepared: Any
    is_wanted: bool = True


class Backend(Protocol):
    """A loaded model. `prepare` and `decode` are called from one thread each, at the same time."""

    @property
    def name(self) -> str:
        """What to call the model, for people."""
        ...

    def prepare(self, works: Sequence[Work], settings: Settings) -> list[Any]:
        """Make the texts of a request ready, and find what is wrong with them and their options.

        Returns:
            What `decode` takes for each; `Generated` for one of which nothing need be decoded.

        Raises:
            ValueError: the options do not fit the model, the texts, or each other; one line.
        """
        ...

    def decode(
        self, tasks: Iterable[Task | None], settings: Settings, size: int
    ) -> Iterator[tuple[Task, Outcome]]:
        """Decode texts that come while others are being decoded; what comes out for one must not
        depend on the others.

        Args:
            tasks: of equal settings. They are pulled whenever there is room, at most `size` that
                have not come back yet. None among them: no further text is there right now, so the
                others are to go on.
            settings: of them all.
            size: how many are decoded at a time.

        Yields:
            Each text as soon as it is done, in any order. One that is not wanted any more need not
            come.

        Raises:
            Exception: the model failed on all of those that have not come back.
        """
        ...
