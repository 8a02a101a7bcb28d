"""Flags of `python -m s2s_ft.average` (standard library only)."""

from dataclasses import dataclass, field

from s2s_ft.options import flag
from s2s_ft.options.checks import count, not_empty

PROGRAM = "python -m s2s_ft.average"
DESCRIPTION = "Write the mean of checkpoints as a checkpoint."


@dataclass(frozen=True, kw_only=True)
class AverageOptions:
    """All options of averaging."""

    model_path: tuple[str, ...] = field(
        metadata=flag(
            "Checkpoints to average; or, with --last, the --output_dir of the run that saved them.",
            metavar="DIR",
        )
    )
    output_dir: str = field(metadata=flag("Folder for the mean.", metavar="DIR"))
    last: int | None = field(
        default=None, metadata=flag("Average the newest N checkpoints of a run.")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        for folder in self.model_path:
            not_empty(model_path=folder)
        not_empty(output_dir=self.output_dir)
        count(1, last=self.last)
        if self.last is not None and len(self.model_path) != 1:
            raise ValueError("--last needs one --model_path, the folder of a run: give only that")
