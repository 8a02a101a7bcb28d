"""The options of decoding, in groups; `DecodeOptions` is all of them.

A fine-tuned checkpoint knows its family, tokenizer, casing and method, so `--model_path` and
`--input_file` are enough; a flag for one of these overrides what the checkpoint says.
"""

from dataclasses import dataclass, field
from typing import Literal

from s2s_ft.options.checks import at_least, at_most_one_of, finite, not_empty
from s2s_ft.options.flags import flag


@dataclass(frozen=True, kw_only=True)
class FinetunedModelOptions:
    """The fine-tuned checkpoint; the other flags override what it says of itself."""

    model_path: str = field(metadata=flag("Folder of the checkpoint.", metavar="DIR"))
    config_path: str | None = field(
        default=None,
        metadata=flag(
            "Another config.json for the checkpoint; its own unless given.", metavar="FILE"
        ),
    )
    tokenizer_name: str | None = field(
        default=None,
        metadata=flag("Tokenizer: folder or hub name; from the checkpoint unless given."),
    )
    do_lower_case: bool = field(
        default=False, metadata=flag("Lower-case all text; the checkpoint decides unless given.")
    )
    pos_shift: bool = field(
        default=False,
        metadata=flag("The checkpoint was fine-tuned with the causal method but does not say so."),
    )
    cache_dir: str | None = field(
        default=None, metadata=flag("Folder for what is downloaded from the hub.", metavar="DIR")
    )
    model_type: str | None = field(default=None, metadata=flag(obsolete=True))
    s2s_special_token: bool = field(default=False, metadata=flag(obsolete=True))
    s2s_add_segment: bool = field(default=False, metadata=flag(obsolete=True))
    s2s_share_segment: bool = field(default=False, metadata=flag(obsolete=True))

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            model_path=self.model_path,
            config_path=self.config_path,
            tokenizer_name=self.tokenizer_name,
            cache_dir=self.cache_dir,
        )


@dataclass(frozen=True, kw_only=True)
class DecodeDataOptions:
    """Rows to decode, and what is written for them."""

    input_file: str = field(
        metadata=flag("Rows to decode: JSON lines, .jsonl or .json, plain or .gz.", metavar="FILE")
    )
    output_file: str | None = field(
        default=None,
        metadata=flag("File to write; <model_path>.<split> unless given.", metavar="FILE"),
    )
    output_format: Literal["text", "jsonl"] = field(
        default="text",
        metadata=flag("text: one line per row; jsonl: per row its texts with their scores."),
    )
    split: str = field(default="", metadata=flag("Ending of the default --output_file."))
    subset: int = field(default=0, metadata=flag("Decode only the first N rows; 0 or less: all."))
    source_key: str = field(default="src", metadata=flag("Key of a row's source.", metavar="KEY"))
    target_key: str = field(default="tgt", metadata=flag("Key of a row's target.", metavar="KEY"))
    max_seq_length: int | None = field(
        default=None,
        metadata=flag(
            "Longest source and output together, in tokens, special tokens included; longer "
            "sources are cut. As in training unless given, 512 where the checkpoint does not say.",
        ),
    )
    need_score_traces: bool = field(
        default=False, metadata=flag("Also write the search's trace, for rescoring.")
    )
    tokenized_input: bool = field(default=False, metadata=flag(obsolete=True))

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            input_file=self.input_file,
            output_file=self.output_file,
            source_key=self.source_key,
            target_key=self.target_key,
        )
        at_least(1, max_seq_length=self.max_seq_length)


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The search for the best output."""

    beam_size: int = field(default=1, metadata=flag("Beams per row; 1: greedy."))
    num_return_sequences: int = field(
        default=1, metadata=flag("Best outputs per row that are written (jsonl only).")
    )
    max_tgt_length: int | None = field(
        default=None,
        metadata=flag(
            "Longest output, in tokens. As in training unless given, 128 where the checkpoint does "
            "not say."
        ),
    )
    min_len: int = field(default=1, metadata=flag("Shortest output, in tokens."))
    length_penalty: float = field(
        default=0.0,
        metadata=flag(
            "Scores are divided by ((5 + length) / 6) to this power; 0 or less: not at all."
        ),
    )
    forbid_duplicate_ngrams: bool = field(
        default=False, metadata=flag("Never generate an n-gram twice.")
    )
    ngram_size: int = field(
        default=3, metadata=flag("The n of --forbid_duplicate_ngrams, in tokens.")
    )
    forbid_ignore_word: str | None = field(
        default=None,
        metadata=flag(
            "Tokens that may recur all the same, joined by |, such as '.|[X_SEP]'.",
            metavar="TOKENS",
        ),
    )
    mode: Literal["s2s", "l2r"] = field(
        default="s2s",
        metadata=flag(
            "s2s: source tokens see the whole source; l2r: only what stands before them."
        ),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        at_least(
            1,
            beam_size=self.beam_size,
            num_return_sequences=self.num_return_sequences,
            max_tgt_length=self.max_tgt_length,
            ngram_size=self.ngram_size,
        )
        at_least(0, min_len=self.min_len)
        finite(length_penalty=self.length_penalty)
        if self.num_return_sequences > self.beam_size:
            raise ValueError(
                f"--num_return_sequences {self.num_return_sequences} is more than --beam_size "
                f"{self.beam_size} can give: raise --beam_size or lower --num_return_sequences"
            )
        if self.max_tgt_length is not None and self.min_len > self.max_tgt_length:
            raise ValueError(
                f"--min_len {self.min_len} is more than --max_tgt_length {self.max_tgt_length}: "
                "lower --min_len or raise --max_tgt_length"
            )


@dataclass(frozen=True, kw_only=True)
class DecodeRuntimeOptions:
    """The device, the number format and the batch size."""

    batch_size: int = field(default=4, metadata=flag("Rows that are decoded at a time."))
    no_cuda: bool = field(default=False, metadata=flag("Use the CPU even where there is a GPU."))
    bf16: bool = field(default=False, metadata=flag("Compute in bfloat16."))
    fp16: bool = field(default=False, metadata=flag("Compute in float16."))
    seed: int = field(
        default=123,
        metadata=flag("Seed of the random generators; the search itself draws nothing."),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        at_least(1, batch_size=self.batch_size)
        at_most_one_of(fp16=self.fp16, bf16=self.bf16)


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """All options of decoding."""

    model: FinetunedModelOptions
    data: DecodeDataOptions
    search: SearchOptions = field(default_factory=SearchOptions)
    runtime: DecodeRuntimeOptions = field(default_factory=DecodeRuntimeOptions)

    def __post_init__(self) -> None:
        """Check what concerns two groups."""
        target, together = self.search.max_tgt_length, self.data.max_seq_length
        needed = (target or 1) + 3  # room for [CLS], one source token and [SEP]
        if together is not None and together < needed:
            raise ValueError(
                f"--max_seq_length {together} leaves no room for a source beside --max_tgt_length "
                f"{target or 1}: give --max_seq_length at least {needed} or lower --max_tgt_length"
            )
        if self.search.num_return_sequences > 1 and self.data.output_format == "text":
            raise ValueError(
                "--num_return_sequences above 1 does not fit --output_format text, which has one "
                "line per row: give --output_format jsonl"
            )
