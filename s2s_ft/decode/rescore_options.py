"""Options of rescoring (standard library only, so that --help answers at once)."""

from __future__ import annotations

from dataclasses import dataclass, field

from s2s_ft.options import flag
from s2s_ft.options.checks import (
    LARGEST_COUNT,
    LARGEST_EXPONENT,
    LARGEST_WEIGHT,
    count,
    not_empty,
    within,
)


@dataclass(frozen=True, kw_only=True)
class RescoreOptions:
    """Options of the rescoring command."""

    input: str = field(
        metadata=flag(
            "Output of a decoding run with --need_score_traces, or its trace; may be a pattern "
            "such as 'out/*.dev'.",
            metavar="FILE",
        )
    )
    output_file: str | None = field(
        default=None,
        metadata=flag(
            "File to write; <input>. and the options in short unless given.", metavar="FILE"
        ),
    )
    length_penalty: float | None = field(
        default=None,
        metadata=flag(
            "Added to a score for every token; with --expect, the price of a token too many or few."
        ),
    )
    expect: float | None = field(
        default=None,
        metadata=flag("Expected length in tokens, the end mark included; needs --length_penalty."),
    )
    alpha: float | None = field(
        default=None,
        metadata=flag(
            "Scores are divided by ((5 + length) / 6) to this power; not beside --length_penalty."
        ),
    )
    min_len: int | None = field(
        default=None,
        metadata=flag(
            "Pass over outputs with fewer tokens, the end mark not counted, if any is longer."
        ),
    )
    collapse_punctuation: bool = field(
        default=False,
        metadata=flag(
            "Shorten one mark of punctuation that is repeated at the end, as the original did."
        ),
    )
    tokenizer_name: str | None = field(
        default=None,
        metadata=flag("Tokenizer: folder or hub name; the one of the decoding run unless given."),
    )
    do_lower_case: bool = field(
        default=False,
        metadata=flag("Load the tokenizer as an uncased one; as in the decoding run unless given."),
    )
    cache_dir: str | None = field(
        default=None, metadata=flag("Folder for what is downloaded from the hub.", metavar="DIR")
    )
    model_type: str | None = field(default=None, metadata=flag(obsolete=True))

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            input=self.input, output_file=self.output_file, tokenizer_name=self.tokenizer_name
        )
        within(-LARGEST_WEIGHT, LARGEST_WEIGHT, length_penalty=self.length_penalty)
        within(-LARGEST_EXPONENT, LARGEST_EXPONENT, alpha=self.alpha)
        within(0, LARGEST_COUNT, expect=self.expect)
        count(0, min_len=self.min_len)
