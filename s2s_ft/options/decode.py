"""The options of decoding, in groups; `DecodeOptions` is all of them.

A fine-tuned checkpoint knows its family, tokenizer, casing and method, so `--model_path` and
`--input_file` are enough; a flag for one of these overrides what the checkpoint says.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from s2s_ft.options.checks import (
    LARGEST_COUNT,
    LONGEST,
    at_most,
    at_most_one_of,
    count,
    not_empty,
    seed,
    within,
)
from s2s_ft.options.flags import flag
from s2s_ft.options.search import SearchOptions

MOST_WORKERS = 1024
"""More processes than a machine has cores for; a larger number is a slip of the hand."""


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


_OF_FILES = (
    "input_format",
    "output_format",
    "output_tokens",
    "split",
    "subset",
    "source_key",
    "target_key",
)


@dataclass(frozen=True, kw_only=True)
class DecodeDataOptions:
    """Rows to decode, and what is written for them."""

    input_file: str = field(
        default="",
        metadata=flag(
            "Rows to decode: JSON lines (.jsonl, .json) or lines of text (.txt), plain or .gz; - "
            "for standard input. Required, unless --interactive is given.",
            metavar="FILE",
        ),
    )
    input_format: Literal["auto", "jsonl", "text"] = field(
        default="auto",
        metadata=flag(
            "jsonl: a JSON object per line; text: a source per line; auto: as the ending of the "
            "name says, else as the first line looks."
        ),
    )
    output_file: str | None = field(
        default=None,
        metadata=flag(
            "File to write; <model_path>.<split> unless given, where the split is that of --split "
            "or the input's name without its ending. -, which is the default with "
            "--input_file -: standard output, each line as soon as it is known.",
            metavar="FILE",
        ),
    )
    output_format: Literal["text", "jsonl"] = field(
        default="text",
        metadata=flag("text: one line per row; jsonl: per row its texts with their scores."),
    )
    output_tokens: bool = field(
        default=False,
        metadata=flag("Also write the tokens of each text and their log-probabilities (jsonl)."),
    )
    interactive: bool = field(
        default=False, metadata=flag("Try the model by hand: type a source, see its outputs.")
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
    tokenized_input: bool = field(
        default=False,
        metadata=flag("Sources are tokens with spaces between, to be looked up and not cut."),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            output_file=self.output_file,
            source_key=self.source_key,
            target_key=self.target_key,
        )
        at_most(LARGEST_COUNT, subset=self.subset)
        within(1, LONGEST, max_seq_length=self.max_seq_length)
        if not self.interactive and not self.input_file.strip():
            raise ValueError(
                "--input_file is empty or missing: give the rows to decode, - for standard input, "
                "or --interactive in its place"
            )
        if self.interactive and (self.input_file or self.output_file):
            raise ValueError(
                "--interactive reads what is typed and shows what it finds: leave --input_file "
                "and --output_file out"
            )
        if self.interactive:
            self._refuse_flags_of_files()
        if self.output_tokens and self.output_format == "text":
            raise ValueError("--output_tokens needs --output_format jsonl: give both or none")

    def _refuse_flags_of_files(self) -> None:
        """What concerns rows and lines says nothing where a model is tried by hand."""
        for each in dataclasses.fields(self):
            is_usual = getattr(self, each.name) == each.default
            if each.name in _OF_FILES and not is_usual:
                raise ValueError(
                    f"--{each.name} has no effect with --interactive, which reads and writes no "
                    "file: leave it out"
                )

    @property
    def is_streamed(self) -> bool:
        """Whether lines go to standard output as soon as they are known."""
        return (self.output_file or self.input_file) == "-"


@dataclass(frozen=True, kw_only=True)
class DecodeRuntimeOptions:
    """The device, the number format and the batch size."""

    batch_size: int | None = field(
        default=None,
        metadata=flag(
            "Most rows that are decoded at a time; 64 on a CPU (128 with one beam, fewer where "
            "sources are long) and 128 on a GPU unless given. Halved where memory does not hold "
            "them."
        ),
    )
    max_tokens_per_batch: int | None = field(
        default=None,
        metadata=flag(
            "Most tokens that are decoded at a time: sources and all beams' outputs, padding "
            "included. Without --batch_size it alone decides."
        ),
    )
    workers: int = field(
        default=1,
        metadata=flag(
            "Most processes that share the rows, with one thread each; on GPUs they take them in "
            "turn. (For ranks on several machines: torchrun.)"
        ),
    )
    resume: bool = field(
        default=False,
        metadata=flag("Go on where the same command was interrupted, if it was."),
    )
    no_cuda: bool = field(default=False, metadata=flag("Use the CPU even where there is a GPU."))
    bf16: bool = field(default=False, metadata=flag("Compute in bfloat16."))
    fp16: bool = field(default=False, metadata=flag("Compute in float16."))
    int8: bool = field(
        default=False,
        metadata=flag("Compute linear layers in 8-bit integers: fastest on a CPU, less exact."),
    )
    torch_compile: bool = field(
        default=False,
        metadata=flag("Compile the steps of the search with torch.compile; torch 2.7 or newer."),
    )
    seed: int = field(
        default=123,
        metadata=flag("Seed of --do_sample; the same seed gives the same outputs."),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        count(
            1,
            batch_size=self.batch_size,
            max_tokens_per_batch=self.max_tokens_per_batch,
        )
        within(1, MOST_WORKERS, workers=self.workers)
        seed(seed=self.seed)
        at_most_one_of(fp16=self.fp16, bf16=self.bf16, int8=self.int8)
        at_most_one_of(int8=self.int8, torch_compile=self.torch_compile)


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """All options of decoding."""

    model: FinetunedModelOptions
    data: DecodeDataOptions
    search: SearchOptions = field(default_factory=SearchOptions)
    runtime: DecodeRuntimeOptions = field(default_factory=DecodeRuntimeOptions)

    def __post_init__(self) -> None:
        """Check what concerns two groups."""
        self._check_ways_out()
        target, together = self.search.max_tgt_length, self.data.max_seq_length
        needed = (target or 1) + 3  # room for [CLS], one source token and [SEP]
        if together is not None and together < needed:
            raise ValueError(
                f"--max_seq_length {together} leaves no room for a source beside --max_tgt_length "
                f"{target or 1}: give --max_seq_length at least {needed} or lower --max_tgt_length"
            )
        several = (self.search.num_return_sequences or 1) > 1
        if several and self.data.output_format == "text" and not self.data.interactive:
            raise ValueError(
                "--num_return_sequences above 1 does not fit --output_format text, which has one "
                "line per row: give --output_format jsonl"
            )
        if self.search.do_sample and self.data.need_score_traces:
            raise ValueError(
                "--do_sample and --need_score_traces exclude each other: what is drawn leaves no "
                "trace of a search; give one of them"
            )

    def _check_ways_out(self) -> None:
        """Refuse what needs a file to write where there is none."""
        way = "--interactive" if self.data.interactive else "--output_file -"
        need_a_file = {
            "--workers": self.runtime.workers > 1,
            "--resume": self.runtime.resume,
            "--need_score_traces": self.data.need_score_traces,
        }
        for name, is_given in need_a_file.items():
            if is_given and (self.data.interactive or self.data.is_streamed):
                raise ValueError(f"{name} and {way} exclude each other: give an --output_file")
