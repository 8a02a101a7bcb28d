"""Flags of `python -m s2s_ft.trim` (standard library only)."""

from dataclasses import dataclass, field
from typing import Literal

from s2s_ft.options import flag
from s2s_ft.options.checks import count, not_empty

PROGRAM = "python -m s2s_ft.trim"
DESCRIPTION = "Cut a model's vocabulary down to what a corpus needs."


@dataclass(frozen=True, kw_only=True)
class TrimOptions:
    """All options of trimming."""

    model_path: str = field(
        metadata=flag("Model to trim, pretrained or fine-tuned: folder or hub name.")
    )
    output_dir: str = field(metadata=flag("Folder for the trimmed model.", metavar="DIR"))
    corpus: tuple[str, ...] = field(
        metadata=flag(
            "Text that must read as before: files of JSON lines (.jsonl, .json) or lines of text, "
            "plain or .gz.",
            metavar="FILE",
        )
    )
    source_key: str = field(
        default="src", metadata=flag("Key of a row's source in JSON lines.", metavar="KEY")
    )
    target_key: str = field(
        default="tgt", metadata=flag("Key of a row's target in JSON lines.", metavar="KEY")
    )
    min_count: int = field(
        default=1, metadata=flag("Keep tokens that the corpus holds at least this often.")
    )
    keep_tokens: str | None = field(
        default=None,
        metadata=flag(
            "Text file with tokens to keep besides, one a line; of a word, its pieces.",
            metavar="FILE",
        ),
    )
    keep_characters: Literal["all", "corpus"] = field(
        default="all",
        metadata=flag(
            "Single characters to keep: all, so that every text that could be written still can; "
            "or those of the corpus, so that others become unknown."
        ),
    )
    tokenizer_name: str | None = field(
        default=None, metadata=flag("Tokenizer to use instead of the model's own.")
    )
    do_lower_case: bool = field(
        default=False, metadata=flag("Lower-case all text; the tokenizer decides unless given.")
    )
    cache_dir: str | None = field(
        default=None, metadata=flag("Folder for what is downloaded from the hub.", metavar="DIR")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            model_path=self.model_path,
            output_dir=self.output_dir,
            source_key=self.source_key,
            target_key=self.target_key,
            keep_tokens=self.keep_tokens,
            tokenizer_name=self.tokenizer_name,
            cache_dir=self.cache_dir,
        )
        for file in self.corpus:
            not_empty(corpus=file)
        count(1, min_count=self.min_count)
