"""Flags of `python -m s2s_ft.data.mixture` (standard library only)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from s2s_ft.options import flag
from s2s_ft.options.checks import count, more_than, not_empty, seed
from s2s_ft.storage.output_file import checked_output

PROGRAM = "python -m s2s_ft.data.mixture"
DESCRIPTION = (
    "Draw one training file of several languages, each with a share in proportion to "
    "(its rows / all rows)^(1/temperature)."
)


@dataclass(frozen=True, kw_only=True)
class MixtureOptions:
    """All options of mixing languages."""

    train_files: tuple[str, ...] = field(
        metadata=flag(
            "Each language and its rows, such as en=en.jsonl de=de.jsonl.gz (JSON lines, plain or "
            "gzipped).",
            metavar="LANGUAGE=FILE",
        )
    )
    output_file: str = field(
        metadata=flag("JSON lines to write; what is there is replaced.", metavar="FILE")
    )
    temperature: float = field(
        default=1.0,
        metadata=flag(
            "1: languages keep their shares; above: rare ones get more; inf: all get the same."
        ),
    )
    num_rows: int | None = field(
        default=None, metadata=flag("Rows to draw; as many as there are unless given.")
    )
    seed: int = field(default=42, metadata=flag("Decides which rows are drawn, and their order."))
    source_key: str = field(
        default="src", metadata=flag("Key of a row's source, for checks.", metavar="KEY")
    )
    target_key: str = field(
        default="tgt", metadata=flag("Key of a row's target, for checks.", metavar="KEY")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            output_file=self.output_file, source_key=self.source_key, target_key=self.target_key
        )
        more_than(0, temperature=self.temperature)
        count(1, num_rows=self.num_rows)
        seed(seed=self.seed)
        languages = []
        for given in self.train_files:
            language, equals, file = given.partition("=")
            if not (equals and language.strip() and file.strip()):
                raise ValueError(f"--train_files {given}: write LANGUAGE=FILE, such as en=en.jsonl")
            if language in languages:
                raise ValueError(f"--train_files {given}: {language} has a file already; join them")
            languages.append(language)
        if self.output_file.endswith(".gz"):
            raise ValueError(f"--output_file {self.output_file}: is written plain; leave out .gz")
        checked_output(self.output_file, [("--train_files", each) for each in self.files.values()])

    @property
    def files(self) -> Mapping[str, str]:
        """The file of each language, in the order given."""
        parts = (given.partition("=") for given in self.train_files)
        return {language: file for language, _, file in parts}
