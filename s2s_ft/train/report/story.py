"""What the files in an output folder tell of a run, brought together for its report.

Notable: files of a run that was killed, or that is still going on, are as good as any; what they do
not hold, or hold as something else than it should be, is left out of the report.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from s2s_ft.model.model_card import SCORE_NAMES
from s2s_ft.train.lines import (
    END,
    LOOK,
    METRICS,
    OPTIONS,
    SAMPLES,
    SESSIONS,
    START,
    TRAIN,
    Line,
    read_lines,
)
from s2s_ft.train.report.charts import Curve
from s2s_ft.train.report.sound import group_of, is_number, sound_lines

TITLES = {"loss": "loss", **SCORE_NAMES}
"""What looks measure, as it is called on the page."""


@dataclass(frozen=True)
class Story:
    """The files of a run.

    Attributes:
        name: Of the output folder.
        options: `train_options.json`: groups of options, and the schedule.
        lines: Of `metrics.jsonl`.
        samples: Of `samples.jsonl`.
        sessions: Of `sessions.jsonl`.
    """

    name: str
    options: dict[str, Any]
    lines: Sequence[Line] = ()
    samples: Sequence[Line] = ()
    sessions: Sequence[Line] = ()

    @classmethod
    def read(cls, output_dir: Path) -> Story:
        """Read what lies in an output folder.

        Raises:
            ValueError: It holds no run.
        """
        path = output_dir / OPTIONS
        try:
            options = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(
                f"{output_dir} holds no run: {OPTIONS} is not there; give a run's --output_dir"
            ) from error
        except ValueError as error:
            raise ValueError(
                f"{path} is damaged ({error}); the next start of the run writes it anew"
            ) from error
        if not isinstance(options, dict):
            raise ValueError(
                f"{path} is damaged (no JSON object); the next start of the run writes it anew"
            )
        return cls(
            name=output_dir.resolve().name,
            options=options,
            lines=sound_lines(read_lines(output_dir / METRICS)),
            samples=sound_lines(read_lines(output_dir / SAMPLES)),
            sessions=sound_lines(read_lines(output_dir / SESSIONS)),
        )

    def option(self, group: str, name: str) -> Any:
        """The value of an option; None where the file does not know it."""
        return group_of(self.options, group).get(name)

    def curve(self, title: str, key: str, lines: Sequence[Line]) -> Curve:
        """One number of some lines over the updates."""
        return Curve(title, [(line["step"], line.get(key)) for line in lines])

    @cached_property
    def updates(self) -> list[Line]:
        """The lines of training; those of older versions do not say their kind."""
        return [line for line in self.lines if line.get("kind", TRAIN) == TRAIN]

    @cached_property
    def looks(self) -> list[Line]:
        """The lines of looks at held-out rows."""
        return [line for line in self.lines if line.get("kind") == LOOK]

    @property
    def step(self) -> int:
        """Updates that are known to be done; what was taken back before the last start is not."""
        starts = [at for at, line in enumerate(self.sessions) if line.get("kind") == START]
        newest = self.sessions[starts[-1] :] if starts else self.sessions
        return max((line["step"] for line in (*self.lines, *newest)), default=0)

    @property
    def total(self) -> int:
        """Updates of the whole run."""
        total = self.option("schedule", "total_steps")
        return int(total) if is_number(total) and total > 0 else self.step

    @property
    def metric(self) -> str:
        """What decides which checkpoint is the best."""
        return str(self.option("validation", "eval_metric") or "loss")

    @property
    def best(self) -> Line | None:
        """The best look, None before the first."""
        return next((line for line in reversed(self.looks) if line.get("improved")), None)

    @property
    def measured(self) -> list[str]:
        """What the looks measured, by the names in `TITLES`."""
        return [name for name in TITLES if any(f"dev_{name}" in line for line in self.looks)]

    @property
    def starts(self) -> list[tuple[Line, Line | None]]:
        """Each start of the command with its end, None where it had none in good order."""
        pairs: list[tuple[Line, Line | None]] = []
        for line in self.sessions:
            if line.get("kind") == START:
                pairs.append((line, None))
            elif line.get("kind") == END and pairs:
                pairs[-1] = (pairs[-1][0], line)
        return pairs

    @property
    def resumed(self) -> list[int]:
        """Updates after which the run went on."""
        return sorted({start["step"] for start, _ in self.starts if start["step"] > 0})

    @property
    def ending(self) -> tuple[str, bool]:
        """How the last start ended, and whether the run is finished."""
        end = self.starts[-1][1] if self.starts else None
        if end is None:
            return "no end in good order yet: it is still going on, or it was killed", False
        return str(end.get("ending", "ended")), bool(end.get("finished"))

    @property
    def seconds_in_updates(self) -> float:
        """Time up to the last line, looks and saves left out."""
        return sum(line.get("seconds") or 0.0 for line in self.updates)

    @property
    def seconds_in_looks(self) -> float:
        """Time of all looks."""
        return sum(line.get("seconds") or 0.0 for line in self.looks)

    def speed(self, key: str) -> float:
        """A number per second, over all lines."""
        done = sum((line.get(key) or 0.0) * (line.get("seconds") or 0.0) for line in self.updates)
        return done / self.seconds_in_updates if self.seconds_in_updates else 0.0
