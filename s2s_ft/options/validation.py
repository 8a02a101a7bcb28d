"""The options of what is measured on held-out rows while training goes on."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from s2s_ft.options.checks import LARGEST_EXPONENT, MOST_BEAMS, count, not_empty, within
from s2s_ft.options.flags import flag

EvaluationMetric = Literal["loss", "rouge1", "rouge2", "rougeL", "bleu", "chrf"]


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """Held-out rows: when they are looked at, how they are decoded and what follows from it."""

    dev_file: str | None = field(
        default=None,
        metadata=flag(
            "Held-out rows, in the format of --train_file, to measure loss and generated texts on.",
            metavar="FILE",
        ),
    )
    num_dev_examples: int | None = field(
        default=None, metadata=flag("Use only the first N held-out rows; all of them unless given.")
    )
    eval_steps: int = field(
        default=0,
        metadata=flag(
            "Updates between two looks at --dev_file; 0: once an epoch. The last one always looks."
        ),
    )
    eval_metric: EvaluationMetric = field(
        default="loss", metadata=flag("What decides which model is kept as <output_dir>/best.")
    )
    eval_beam_size: int = field(
        default=1, metadata=flag("Beams that decode --dev_file; 0: no decoding, only the loss.")
    )
    eval_length_penalty: float = field(
        default=0.0, metadata=flag("Length penalty of that decoding, as decode_seq2seq.py has it.")
    )
    eval_batch_size: int = field(
        default=32, metadata=flag("Held-out rows that are decoded at once, on each device.")
    )
    early_stopping_patience: int = field(
        default=0,
        metadata=flag("Looks without an improvement after which the run ends; 0: never."),
    )
    num_samples: int = field(
        default=3, metadata=flag("Generated held-out rows that the log shows at each look.")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(dev_file=self.dev_file)
        count(1, num_dev_examples=self.num_dev_examples, eval_batch_size=self.eval_batch_size)
        count(
            0,
            eval_steps=self.eval_steps,
            early_stopping_patience=self.early_stopping_patience,
            num_samples=self.num_samples,
        )
        within(0, MOST_BEAMS, eval_beam_size=self.eval_beam_size)
        within(-LARGEST_EXPONENT, LARGEST_EXPONENT, eval_length_penalty=self.eval_length_penalty)
        self._check_rows_are_given()
        if self.eval_beam_size == 0 and self.eval_metric != "loss":
            raise ValueError(
                f"--eval_metric {self.eval_metric} needs generated text, and --eval_beam_size 0 "
                "generates none: give --eval_beam_size at least 1 or --eval_metric loss"
            )

    def _check_rows_are_given(self) -> None:
        """Refuse flags that would do nothing without `--dev_file`."""
        if self.dev_file is not None:
            return
        for each in dataclasses.fields(self):
            if getattr(self, each.name) != each.default:
                raise ValueError(
                    f"--{each.name} needs held-out rows: give --dev_file or leave it out"
                )
