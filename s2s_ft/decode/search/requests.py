"""What goes into a search and what may steer it: requests, the limits of a batch, and the two
protocols, rules and selections, through which options of generation reach the engine.

Notable: the examples of one batch may be at different steps. A rule sees log-probabilities and
returns log-probabilities. A rule that touches few tokens should be a `SparseRule` instead: where
all rules of a run are sparse, no log-softmax over the vocabulary is ever written out.

Letters: B examples, W beams an example (1 at an example's first step), W' beams after a step,
L columns of the history, M tokens that a sparse rule names, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from s2s_ft.layout import IntArray

FORBIDDEN = -10000.0
"""What rules add to the log-probability of a token that must not come, or put in its place
(for the end token)."""


@dataclass(frozen=True)
class Request:
    """One example to decode.

    Attributes:
        key: Its row number in the input; results carry it back, and its random numbers hang on it.
        source: [S] int64 ids, special tokens included, as `method.source` lays them out.
        prefix: Forced first tokens.
        phrases: Token sequences each of which must appear.
    """

    key: int
    source: IntArray
    prefix: tuple[int, ...] = ()
    phrases: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Budget:
    """How much is searched at once.

    Attributes:
        max_examples: Most examples in the batch.
        max_tokens: Most columns of keys in the batch, longest source and all beams' targets
            counted for every example; None = no limit. One example always fits.
        refill_share: Share of the batch that must be free before waiting requests join a running
            batch; 1 = they wait until all have left. None = what is fastest on the device.
        compile: Compile the step with `torch.compile`; the shapes of the batch then stay fixed.
    """

    max_examples: int
    max_tokens: int | None = None
    refill_share: float | None = None
    compile: bool = False


@dataclass(frozen=True)
class Progress:
    """Where the examples of a batch are, before a step; all on the device.

    Attributes:
        history: [B, W, L] int64 tokens of each hypothesis, L at least the largest of `steps`;
            columns from `steps[b]` on hold the end token and mean nothing.
        steps: [B] int64 tokens that each hypothesis of an example holds; 0 at its first step.
        totals: [B, W] float32 summed natural-log probabilities.
        slots: [B] int64 which row of the per-request tables each example is (see `Admitting`).
    """

    history: Tensor
    steps: Tensor
    totals: Tensor
    slots: Tensor

    @property
    def last(self) -> Tensor:
        """[B, W] int64 newest token of each hypothesis; -1 at an example's first step."""
        if self.history.shape[-1] == 0:
            return self.history.new_full(self.history.shape[:-1], -1)
        column = (self.steps - 1).clamp(min=0)[:, None, None].expand(-1, self.history.shape[1], 1)
        newest = self.history.gather(-1, column).squeeze(-1)
        return torch.where(self.steps[:, None] > 0, newest, -1)


@dataclass(frozen=True)
class Choice:
    """The beams after a step, best first unless the selection says otherwise.

    Attributes:
        totals: [B, W'] float32 summed natural-log probabilities, penalties included.
        parents: [B, W'] int64 beam of the step before that each goes on from.
        tokens: [B, W'] int64 token that each adds.
    """

    totals: Tensor
    parents: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Edits:
    """Changes of a few log-probabilities.

    Attributes:
        tokens: [B, W, M] int64; a token may be named more than once.
        amounts: [B, W, M] float32, at most 0; 0 leaves the token alone. Where a token is named more
            than once, its lowest amount counts, once.
        replace: Whether an amount takes the place of the log-probability, where it is lower, or is
            added to it.
    """

    tokens: Tensor
    amounts: Tensor
    replace: bool = False


class Rule(Protocol):
    """Changes what the model says of the next token."""

    def __call__(self, scores: Tensor, progress: Progress) -> Tensor:
        """New log-probabilities, at most 0 each.

        Args:
            scores: [B, W, V] float32 log-softmax of the model's logits, or what an earlier rule
                made of it; not to be changed in place.
            progress: The hypotheses so far.

        Returns:
            [B, W, V] float32.
        """
        ...


@runtime_checkable
class SparseRule(Protocol):
    """A rule that touches few tokens."""

    def edits(self, progress: Progress) -> Edits | None:
        """What to change; None = nothing in this step."""
        ...


class Selection(Protocol):
    """Chooses the next beams."""

    def __call__(self, scores: Tensor, progress: Progress) -> Choice:
        """The beams after this step. Beams that have ended must not go on: with totals lowered by
        `FORBIDDEN` they stay in the list without taking a place that a live beam could have.

        Args:
            scores: [B, W, V] float32 log-probabilities after all rules.
            progress: The hypotheses so far; W = 1 at the examples' first step.

        Returns:
            W' beams an example, the same number for every example and, from the first step on,
            for every step.
        """
        ...


@runtime_checkable
class OnDemand(Protocol):
    """A selection that is not always needed."""

    @property
    def is_needed(self) -> bool:
        """Whether some request in the batch needs it now; if none does, the usual selection is
        taken.
        """
        ...


@runtime_checkable
class Admitting(Protocol):
    """A rule or a selection that holds tables with a row per request."""

    def admit(self, slots: Sequence[int], requests: Sequence[Request]) -> None:
        """Fill the rows of requests that enter the batch.

        Args:
            slots: N numbers from 0 on that are free now; rows are used again after an example has
                left.
            requests: The N requests.
        """
        ...


AnyRule = Rule | SparseRule


class NonFiniteScores(ValueError):  # noqa: N818 (named for what it says)
    """The model gave scores that are not numbers.

    Attributes:
        request: For which request.
    """

    def __init__(self, request: Request) -> None:
        """Name the request."""
        super().__init__(
            f"input row {request.key + 1}: the model's scores are not finite numbers; the "
            "checkpoint is damaged or its weights overflow in this precision (try without "
            "--fp16)"
        )
        self.request = request


class MemoryTooSmall(MemoryError):  # noqa: N818 (named for what it says)
    """Memory does not hold a request even alone.

    Attributes:
        request: Which one.
    """

    def __init__(self, request: Request) -> None:
        """Name the request."""
        super().__init__(f"input row {request.key + 1}: memory does not hold it even alone")
        self.request = request


RequestFault = NonFiniteScores | MemoryTooSmall
"""What can go wrong with one request, and is no fault of those beside it."""
