"""The options of training, in groups; `TrainOptions` is all of them.

Names, types and defaults of the original toolkit's flags are kept, so that an old command means the
same. A function takes the group it needs, never all of them.
"""

from dataclasses import dataclass, field

from s2s_ft.options.checks import (
    at_least,
    at_most_one_of,
    finite,
    more_than,
    not_empty,
    probability,
    share_below_one,
)
from s2s_ft.options.flags import flag
from s2s_ft.options.model import ModelOptions


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
        at_least(3, max_source_seq_length=self.max_source_seq_length)
        at_least(2, max_target_seq_length=self.max_target_seq_length)
        at_least(1, num_train_examples=self.num_train_examples)
        at_least(0, num_workers=self.num_workers)


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
        at_least(0, num_max_mask_token=self.num_max_mask_token)


@dataclass(frozen=True, kw_only=True)
class OptimizationOptions:
    """AdamW, its schedule and the loss."""

    per_gpu_train_batch_size: int = field(
        default=8, metadata=flag("Examples per device and forward pass.")
    )
    gradient_accumulation_steps: int = field(default=1, metadata=flag("Forward passes per update."))
    learning_rate: float = field(default=5e-5, metadata=flag("Peak learning rate."))
    weight_decay: float = field(
        default=0.01, metadata=flag("Weight decay on all but biases and normalisation weights.")
    )
    adam_epsilon: float = field(default=1e-8, metadata=flag("Epsilon of AdamW."))
    max_grad_norm: float = field(
        default=1.0, metadata=flag("Gradients are clipped to this norm; 0: not at all.")
    )
    label_smoothing: float = field(
        default=0.1, metadata=flag("Probability that is taken from the label; 0: cross-entropy.")
    )
    num_training_steps: int = field(
        default=-1, metadata=flag("Updates in all; -1: as many as --num_training_epochs makes.")
    )
    num_training_epochs: int = field(
        default=10, metadata=flag("Passes over the data where --num_training_steps is -1.")
    )
    num_warmup_steps: int = field(
        default=0,
        metadata=flag("Updates over which the learning rate rises; then it falls linearly to 0."),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        at_least(
            1,
            per_gpu_train_batch_size=self.per_gpu_train_batch_size,
            gradient_accumulation_steps=self.gradient_accumulation_steps,
            num_training_epochs=self.num_training_epochs,
        )
        more_than(
            0,
            learning_rate=self.learning_rate,
            adam_epsilon=self.adam_epsilon,
        )
        at_least(
            0,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            num_warmup_steps=self.num_warmup_steps,
        )
        finite(
            learning_rate=self.learning_rate,
            adam_epsilon=self.adam_epsilon,
            weight_decay=self.weight_decay,
        )
        share_below_one(label_smoothing=self.label_smoothing)
        if self.num_training_steps < 1 and self.num_training_steps != -1:
            raise ValueError(
                f"--num_training_steps is {self.num_training_steps}: give a number of at least 1, "
                "or -1 to train for --num_training_epochs"
            )


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

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(output_dir=self.output_dir, log_dir=self.log_dir)


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """The device, the number format and the random seed."""

    no_cuda: bool = field(default=False, metadata=flag("Use the CPU even where there is a GPU."))
    bf16: bool = field(default=False, metadata=flag("Mixed precision in bfloat16."))
    fp16: bool = field(default=False, metadata=flag("Mixed precision in float16."))
    seed: int = field(default=42, metadata=flag("Seed of the order, the corruption and dropout."))
    local_rank: int = field(
        default=-1, metadata=flag("Number of this process, as set by a launcher.", "--local-rank")
    )
    fp16_opt_level: str = field(
        default="O1",
        metadata=flag(
            "With --fp16: O0 stays in float32; O1, O2 and O3 are one and the same mixed precision.",
            metavar="LEVEL",
        ),
    )
    server_ip: str = field(default="", metadata=flag(obsolete=True))
    server_port: str = field(default="", metadata=flag(obsolete=True))

    def __post_init__(self) -> None:
        """Check the values."""
        at_most_one_of(fp16=self.fp16, bf16=self.bf16)
        at_least(-1, local_rank=self.local_rank)
        if self.fp16_opt_level.upper() not in ("O0", "O1", "O2", "O3"):
            raise ValueError(
                f"--fp16_opt_level is {self.fp16_opt_level!r}: give O0, O1, O2 or O3 (the letter O)"
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed is {self.seed}: give a number from 0 to {2**32 - 1}")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """All options of training."""

    data: DataOptions
    model: ModelOptions
    corruption: CorruptionOptions = field(default_factory=CorruptionOptions)
    optimization: OptimizationOptions = field(default_factory=OptimizationOptions)
    checkpoint: CheckpointOptions
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
