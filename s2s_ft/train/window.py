"""What the updates since the last line of the log add up to.

Notable: it is part of a checkpoint, so that the next line of a resumed run is that of an
uninterrupted one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from s2s_ft.train.step import StepReport


@dataclass
class Window:
    """What the updates since the last line of the log add up to.

    Attributes:
        steps: Updates.
        loss: Summed over supervised tokens.
        tokens: Supervised target tokens.
        examples: Examples.
        seconds: Wall-clock time of the run itself, waiting between a kill and its resume
            not counted.
    """

    steps: int = 0
    loss: float = 0.0
    tokens: int = 0
    examples: int = 0
    seconds: float = 0.0

    def add(self, report: StepReport, seconds: float) -> None:
        """Count one more update."""
        self.steps += 1
        self.loss += report.loss * report.tokens
        self.tokens += report.tokens
        self.examples += report.examples
        self.seconds += seconds

    @property
    def mean_loss(self) -> float:
        """Loss per supervised token."""
        return self.loss / self.tokens if self.tokens else math.nan

    @property
    def tokens_per_second(self) -> float:
        """Supervised target tokens per second."""
        return self.tokens / self.seconds if self.seconds else math.nan

    @property
    def examples_per_second(self) -> float:
        """Examples per second."""
        return self.examples / self.seconds if self.seconds else math.nan

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Window:
        """What `dataclasses.asdict` made of a window."""
        return cls(**{field.name: saved[field.name] for field in fields(cls)})
