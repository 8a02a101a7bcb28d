"""Flags of `python -m s2s_ft.convert`, in groups (standard library only)."""

from dataclasses import dataclass, field

from s2s_ft.options import flag
from s2s_ft.options.checks import LONGEST, not_empty, within
from s2s_ft.options.model import FineTuningMethod

PROGRAM = "python -m s2s_ft.convert"
DESCRIPTION = "Make a transformers folder of a checkpoint in any format, and account for it."


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """What is converted, and where it goes."""

    model_path: str = field(
        metadata=flag(
            "Checkpoint: a folder (transformers', UniLM's own files, what the original toolkit "
            "fine-tuned), a .bin or .safetensors file with its config beside it, or a hub name.",
            metavar="IN",
        )
    )
    output_dir: str = field(
        metadata=flag("Folder to make; nothing is ever overwritten.", metavar="OUT")
    )
    family: str | None = field(
        default=None,
        metadata=flag(
            "Family to take it for, by transformers' names (bert, xlm-roberta, …) or unilm, "
            "minilm; as its config says unless given."
        ),
    )
    config_path: str | None = field(
        default=None,
        metadata=flag("Config to use instead of the checkpoint's own: file, folder or hub name."),
    )
    tokenizer_name: str | None = field(
        default=None,
        metadata=flag(
            "Tokenizer that belongs to it: a folder, a vocab.txt or a hub name; the checkpoint's "
            "own unless given. The original toolkit saves none."
        ),
    )
    cache_dir: str | None = field(
        default=None, metadata=flag("Folder for what is downloaded from the hub.", metavar="DIR")
    )
    list_keys: bool = field(
        default=False, metadata=flag("Print what became of every weight, one line each.")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            model_path=self.model_path,
            output_dir=self.output_dir,
            family=self.family,
            config_path=self.config_path,
            tokenizer_name=self.tokenizer_name,
            cache_dir=self.cache_dir,
        )


@dataclass(frozen=True, kw_only=True)
class KnownOptions:
    """What is known of a fine-tuned checkpoint and its files do not tell."""

    fine_tuning_method: FineTuningMethod | None = field(
        default=None,
        metadata=flag("How it was fine-tuned; pseudo_mask unless the checkpoint tells."),
    )
    max_source_seq_length: int | None = field(
        default=None, metadata=flag("Source tokens that it was fine-tuned with.")
    )
    max_target_seq_length: int | None = field(
        default=None, metadata=flag("Target tokens that it was fine-tuned with.")
    )
    do_lower_case: bool = field(
        default=False,
        metadata=flag("It reads lower-case text; the tokenizer decides unless given."),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        within(
            1,
            LONGEST,
            max_source_seq_length=self.max_source_seq_length,
            max_target_seq_length=self.max_target_seq_length,
        )


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """All options of a conversion."""

    checkpoint: CheckpointOptions
    known: KnownOptions
