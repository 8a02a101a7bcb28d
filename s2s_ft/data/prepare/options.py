"""Flags of `python -m s2s_ft.data.prepare` (standard library only).

Notable: the benchmark may come first without its flag, as in `prepare xsum --output_dir data`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from s2s_ft.options import flag
from s2s_ft.options.checks import not_empty

PROGRAM = "python -m s2s_ft.data.prepare"
DESCRIPTION = (
    "Make a published benchmark's files into JSON lines, counted and checksummed; --name may be "
    "left out before the benchmark's name where that comes first."
)

TaskName = Literal[
    "cnndm",
    "xsum",
    "gigaword",
    "squad_qg_du",
    "squad_qg_zhao",
    "xglue_ntg",
    "xglue_qg",
    "debsum",
]


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """All options of preparing a benchmark."""

    name: TaskName = field(metadata=flag("The benchmark."))
    output_dir: str = field(
        metadata=flag("Folder for the JSON lines; must not be there.", metavar="DIR")
    )
    from_files: str | None = field(
        default=None,
        metadata=flag(
            "Folder with the official files; from the hub, through datasets, unless given.",
            metavar="DIR",
        ),
    )
    languages: tuple[str, ...] = field(
        default=(),
        metadata=flag("Languages of a multilingual benchmark, such as en de; all unless given."),
    )
    sentence_separator: str = field(
        default="[X_SEP]",
        metadata=flag("cnndm: what stands between the sentences of a summary.", metavar="TOKEN"),
    )
    answer_separator: str = field(
        default="[SEP]",
        metadata=flag(
            "squad_qg: what stands between passage and answer; best the separator of the tokenizer "
            "to come, which is </s> for RoBERTa and XLM-R.",
            metavar="TOKEN",
        ),
    )
    allow_other_counts: bool = field(
        default=False, metadata=flag("Go on where there are not as many rows as published.")
    )
    hub_revision: str | None = field(
        default=None,
        metadata=flag("Revision of the hub's data; what docs/benchmarks.md says unless given."),
    )
    cache_dir: str | None = field(
        default=None, metadata=flag("Folder for what is downloaded from the hub.", metavar="DIR")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            output_dir=self.output_dir,
            from_files=self.from_files,
            sentence_separator=self.sentence_separator,
            answer_separator=self.answer_separator,
            hub_revision=self.hub_revision,
            cache_dir=self.cache_dir,
        )
        for language in self.languages:
            not_empty(languages=language)
        if self.from_files is not None and self.hub_revision is not None:
            raise ValueError("--hub_revision is of no use with --from_files: give one of them")


def with_name_flag(arguments: Sequence[str]) -> list[str]:
    """Put `--name` before a benchmark's name that comes first."""
    if arguments and not arguments[0].startswith("-"):
        return ["--name", *arguments]
    return list(arguments)
