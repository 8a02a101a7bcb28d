"""The options of training, in groups; `TrainOptions` is all of them.

Names, types and defaults of the original toolkit's flags are kept, so that an old command means the
same. A function takes the group it needs, never all of them.
"""

from dataclasses import dataclass, field

from s2s_ft.options.adapter import AdapterOptions
from s2s_ft.options.checks import LONGEST, count, in_utf8, not_empty, probability, within
from s2s_ft.options.combinations import check_combinations
from s2s_ft.options.distillation import DistillationOptions
from s2s_ft.options.flags import as_dict, flag
from s2s_ft.options.model import ModelOptions
from s2s_ft.options.optimization import OptimizationOptions
from s2s_ft.options.runtime import RuntimeOptions
from s2s_ft.options.validation import ValidationOptions


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Training rows, and where their token ids are kept."""

    train_file: str = field(
        metadata=flag("Training rows: JSON lines, .jsonl or .json, plain or .gz.", metavar="FILE")
    )
    source_key: str = field(default="src", metadata=flag("Key of a row's source.", metavar="KEY"))
    target_key: str = field(default="tgt", metadata=flag("Key of a row's target.", metavar="KEY"))
    num_train_examples: int | None = field(
        default=None, metadata=flag("Use only the first N rows; all of them unless given.")
    )
    max_source_seq_length: int = field(
        default=464, metadata=flag("Longest source in tokens, special tokens included.")
    )
    max_target_seq_length: int = field(
        default=48, metadata=flag("Longest target in tokens, special tokens included.")
    )
    cached_train_features_file: str | None = field(
        default=None,
        metadata=flag(
            "Folder for the token ids of the training rows; <output_dir>/features unless given.",
            metavar="DIR",
        ),
    )
    num_workers: int = field(
        default=0, metadata=flag("Threads that tokenise the training rows; 0: one per core.")
    )
    lmdb_cache: bool = field(default=False, metadata=flag(obsolete=True))
    lmdb_dtype: str = field(default="h", metadata=flag(obsolete=True))

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            train_file=self.train_file,
            source_key=self.source_key,
            target_key=self.target_key,
            cached_train_features_file=self.cached_train_features_file,
        )
        # [CLS], one token, [SEP]; and one token, [SEP].
        within(3, LONGEST, max_source_seq_length=self.max_source_seq_length)
        within(2, LONGEST, max_target_seq_length=self.max_target_seq_length)
        count(1, num_train_examples=self.num_train_examples)
        count(0, num_workers=self.num_workers)


@dataclass(frozen=True, kw_only=True)
class CorruptionOptions:
    """Which tokens are hidden from the encoder in training."""

    source_mask_prob: float = field(
        default=-1.0, metadata=flag("Share of source tokens that are corrupted; 0 or less: none.")
    )
    target_mask_prob: float = field(
        default=0.5, metadata=flag("Share of target tokens that are corrupted or, masked, learnt.")
    )
    num_max_mask_token: int = field(
        default=0, metadata=flag("Most target tokens learnt in a row (masked only); 0: no cap.")
    )
    random_prob: float = field(
        default=0.1, metadata=flag("Share of corrupted tokens that become a random token.")
    )
    keep_prob: float = field(
        default=0.1,
        metadata=flag("Share of corrupted tokens that stay as they are; the rest is masked."),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        probability(
            source_mask_prob=None if self.source_mask_prob < 0 else self.source_mask_prob,
            target_mask_prob=self.target_mask_prob,
            random_prob=self.random_prob,
            keep_prob=self.keep_prob,
        )
        if self.random_prob + self.keep_prob > 1 + 1e-9:
            raise ValueError(
                f"--random_prob {self.random_prob} and --keep_prob {self.keep_prob} add up to more "
                "than 1: what they leave is the share of [MASK], so lower one of them"
            )
        count(0, num_max_mask_token=self.num_max_mask_token)


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """What is written, where and how often."""

    output_dir: str = field(
        metadata=flag(
            "Folder for checkpoints; training goes on from the newest one it holds.", metavar="DIR"
        )
    )
    overwrite_output_dir: bool = field(
        default=False, metadata=flag("Remove the checkpoints in --output_dir and start anew.")
    )
    save_steps: int = field(
        default=1500, metadata=flag("Updates between two checkpoints; 0 or less: only the last.")
    )
    log_dir: str | None = field(
        default=None,
        metadata=flag(
            "Folder for TensorBoard; <output_dir>/tensorboard unless given.", metavar="DIR"
        ),
    )
    logging_steps: int = field(
        default=500, metadata=flag("Updates between two lines of the log; 0 or less: none.")
    )

    keep_checkpoints: int = field(
        default=0, metadata=flag("Newest checkpoints to keep, the best model apart; 0: all.")
    )
    wandb_project: str | None = field(
        default=None,
        metadata=flag("Project of Weights & Biases to log to, too.", metavar="NAME"),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            output_dir=self.output_dir, log_dir=self.log_dir, wandb_project=self.wandb_project
        )
        count(0, keep_checkpoints=self.keep_checkpoints)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """All options of training."""

    data: DataOptions
    model: ModelOptions
    corruption: CorruptionOptions = field(default_factory=CorruptionOptions)
    optimization: OptimizationOptions = field(default_factory=OptimizationOptions)
    validation: ValidationOptions = field(default_factory=ValidationOptions)
    adapter: AdapterOptions = field(default_factory=AdapterOptions)
    distillation: DistillationOptions = field(default_factory=DistillationOptions)
    checkpoint: CheckpointOptions
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)

    def __post_init__(self) -> None:
        """Check what each group cannot check by itself, and what holds for every text."""
        # All of them are written into checkpoints.
        for group in as_dict(self).values():
            in_utf8(**group)
        check_combinations(
            self.model, self.optimization, self.adapter, self.distillation, self.runtime
        )
