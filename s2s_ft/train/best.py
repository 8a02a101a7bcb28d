"""Which look at the held-out rows was the best so far, and whether it is worth going on.

Notable: the state is a handful of numbers that are saved with every checkpoint, so the patience of
a run that was stopped goes on where it was, and `best/` is not given away by a resume. Numbers that
were measured on other rows or decoded in another way do not compare: then the count starts anew.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

logger = logging.getLogger(__name__)

LOSS = "loss"
"""The one metric that is better the lower it is."""


class Look(Protocol):
    """What a tracker needs of a look (see `dev_report.DevReport`)."""

    @property
    def step(self) -> int:
        """Updates taken."""

    def value(self, metric: str) -> float:
        """Its number by the name of `--eval_metric`."""


@dataclass
class Tracker:
    """Follows one metric over the looks of a run.

    Attributes:
        metric: As `--eval_metric` names it.
        measured_on: What the numbers depend on besides the weights; equal texts compare.
        best_value: Best value so far, None before the first one that is a number.
        best_step: Updates taken when it was measured.
        looks_without_gain: Looks since then.
        last_step: Updates taken at the last look, None before the first one.
    """

    metric: str
    measured_on: str = ""
    best_value: float | None = None
    best_step: int | None = None
    looks_without_gain: int = 0
    last_step: int | None = None

    @classmethod
    def resumed(
        cls, saved: Mapping[str, Any] | None, *, metric: str, measured_on: str = ""
    ) -> Tracker:
        """The tracker of a run that goes on, or of a new one.

        Args:
            saved: What `to_dict` gave when the checkpoint was saved; None without one.
            metric: As `--eval_metric` names it now.
            measured_on: What the numbers depend on now.
        """
        if saved is None:
            return cls(metric, measured_on)
        before = cls.from_dict(saved)
        if (before.metric, before.measured_on) == (metric, measured_on):
            return before
        if before.best_step is not None:
            logger.warning(
                "--eval_metric, the rows of --dev_file or the way they are decoded changed: the "
                "best so far (%s %.4g at update %d) does not count any more",
                before.metric,
                before.best_value,
                before.best_step,
            )
        return cls(metric, measured_on, last_step=before.last_step)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Tracker:
        """What `to_dict` gave."""
        return cls(**{field.name: saved[field.name] for field in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """The state in plain JSON."""
        return asdict(self)

    def note(self, report: Look) -> bool:
        """Take a look into account.

        A value that is no number is never an improvement, and neither is an equal one: of equally
        good models the earlier one stays.

        Returns:
            Whether it is the best so far.
        """
        value = report.value(self.metric)
        self.last_step = report.step
        if math.isfinite(value) and self._is_better(value):
            self.best_value, self.best_step = value, report.step
            self.looks_without_gain = 0
            return True
        self.looks_without_gain += 1
        return False

    def is_out_of_patience(self, patience: int) -> bool:
        """Whether `--early_stopping_patience` is used up; 0 never is."""
        return 0 < patience <= self.looks_without_gain

    def _is_better(self, value: float) -> bool:
        if self.best_value is None:
            return True
        return value < self.best_value if self.metric == LOSS else value > self.best_value
