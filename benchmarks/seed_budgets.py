"""How long the runs of `seeds.py` train, and with what.

short        an eighth of an epoch twice over: what many seeds can be afforded of
converged    three epochs with dropout, as the long runs of `methods.py`; the weights that are
             decoded with are those with the best ROUGE-L on 200 development rows
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingBudget:
    """The flags of one budget.

    Attributes:
        report: Name of its results file.
        mark: Of its part of RESULTS.md.
        steps: Updates.
        batch: Examples in each.
        flags: What decides the outcome.
        checkpoint: Folder of the weights that are decoded with.
        told: The budget in words.
        looks: Whether training looks at development rows (`--dev`).
    """

    report: str
    mark: str
    steps: int
    batch: int
    flags: Sequence[str]
    checkpoint: str
    told: str
    looks: bool = False


SAVING = ("--save_steps", "376", "--keep_checkpoints", "2", "--logging_steps", "94", "--no_cuda")
"""Flags of all runs that decide nothing."""

SHORT = TrainingBudget(
    report="seeds",
    mark="debsum",
    steps=752,
    batch=8,
    flags=(
        *("--num_training_steps", "752"),
        *("--per_gpu_train_batch_size", "8"),
        *("--learning_rate", "4e-4"),
        *("--num_warmup_steps", "100"),
        *("--max_source_seq_length", "128"),
        *("--max_target_seq_length", "32"),
        *("--dropout", "0"),
        "--bf16",
    ),
    checkpoint="ckpt-752",
    told="752 updates of 8, rate 4e-4, bf16, source 128, target 32, beam 5",
)

CONVERGED = TrainingBudget(
    report="seeds_converged",
    mark="debsum-converged",
    steps=4512,
    batch=16,
    flags=(
        *("--num_training_epochs", "3"),
        *("--per_gpu_train_batch_size", "16"),
        *("--learning_rate", "4e-4"),
        *("--num_warmup_steps", "200"),
        *("--max_source_seq_length", "160"),
        *("--max_target_seq_length", "32"),
        *("--dropout", "0.1"),
        "--bf16",
        *("--num_dev_examples", "200"),
        *("--eval_steps", "376"),
        *("--eval_beam_size", "5"),
        *("--eval_length_penalty", "1.0"),
        *("--eval_metric", "rougeL"),
    ),
    checkpoint="best",
    told=(
        "three epochs (4,512 updates of 16), rate 4e-4, dropout 0.1, bf16, source 160, target 32, "
        "beam 5; decoded with the weights of the look with the best ROUGE-L on 200 development rows"
    ),
    looks=True,
)

BUDGETS = {"short": SHORT, "converged": CONVERGED}
