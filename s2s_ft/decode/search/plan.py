"""What a search is given: a model to step, and how to search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from s2s_ft.decode.search.requests import AnyRule, Budget, Request, Selection
from s2s_ft.decode.search.settings import SearchSettings


class Stepper(Protocol):
    """What a search needs of a model (letters: B examples in the batch, N that enter together, W
    beams, V vocabulary).
    """

    @property
    def device(self) -> torch.device:
        """Where its logits are."""
        ...

    def admit(self, requests: Sequence[Request], rows: Sequence[int]) -> Tensor:
        """Take N examples into rows of the batch, vacant ones or new ones at its end.

        Returns:
            [N, 1, V] float32 logits of their first token; the caller may change them.
        """
        ...

    def step(self, last: Tensor) -> Tensor:
        """[B, W, V] float32 logits after `last` [B, W] int64, for every row of the batch; the
        caller may change them.
        """
        ...

    def reorder(self, parents: Tensor) -> None:
        """After a step: beams go on from `parents` [B, W] int64."""
        ...

    def vacate(self, rows: Sequence[int]) -> None:
        """Examples in these rows are decided; the rows stay in the batch for now."""
        ...

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Only these rows of the batch stay, in an order that suits the model.

        Returns:
            The order: row i is from now on what row `order[i]` was.
        """
        ...


@dataclass(frozen=True)
class SearchPlan:
    """How a search is run.

    Attributes:
        settings: What to search for.
        budget: Limits of the batch.
        rules: Change what the model says of the next token, in this order.
        selection: Chooses the beams; None = the best.
        lag: Steps that may pass before the host looks at what is decided.
        shrink_share: Share of the rows that must be vacant before the batch becomes smaller; 0 =
            at once, above 1 = never.
        refill_share: Share of the batch that must be free before waiting requests join.
        is_wanted: Asked of every example before every step; one that nobody wants any more leaves
            without a result. None = all are.
    """

    settings: SearchSettings
    budget: Budget
    rules: Sequence[AnyRule] = ()
    selection: Selection | None = None
    lag: int = 0
    shrink_share: float = 0.0
    refill_share: float = 0.5
    is_wanted: Callable[[Request], bool] | None = None
