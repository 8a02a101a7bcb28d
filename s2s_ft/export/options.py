"""Flags of `python -m s2s_ft.export` (standard library only)."""

from dataclasses import dataclass, field

from s2s_ft.options import flag
from s2s_ft.options.checks import not_empty


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, and where to."""

    model_path: str = field(
        metadata=flag("Fine-tuned checkpoint: folder, or name on the hub.", metavar="DIR")
    )
    output_dir: str = field(
        metadata=flag("Folder for the graphs; must be new or empty.", metavar="DIR")
    )
    cache_dir: str | None = field(
        default=None, metadata=flag("Folder for what is downloaded from the hub.", metavar="DIR")
    )
    int8: bool = field(
        default=False,
        metadata=flag("Hold the weights of matrix products in 8 bits (dynamic quantisation)."),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(model_path=self.model_path, output_dir=self.output_dir, cache_dir=self.cache_dir)
