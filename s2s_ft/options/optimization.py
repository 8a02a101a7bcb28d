"""The options of training that concern the optimizer, its schedule and the size of an update."""

from dataclasses import dataclass, field
from typing import Literal

from s2s_ft.options.checks import (
    LARGEST_COUNT,
    at_least,
    at_most,
    count,
    finite,
    more_than,
    share_below_one,
)
from s2s_ft.options.flags import flag


@dataclass(frozen=True, kw_only=True)
class OptimizationOptions:
    """AdamW, its schedule and the loss."""

    per_gpu_train_batch_size: int = field(
        default=8, metadata=flag("Examples per device and forward pass.")
    )
    gradient_accumulation_steps: int = field(default=1, metadata=flag("Forward passes per update."))
    global_batch_size: int | None = field(
        default=None,
        metadata=flag(
            "Examples per update over all devices; it then decides how often gradients are "
            "accumulated, on any number of devices."
        ),
    )
    max_tokens_per_batch: int | None = field(
        default=None,
        metadata=flag(
            "Most tokens in a forward pass; larger ones are cut, and the update stays the same."
        ),
    )
    optimizer: Literal["adamw", "apex"] = field(
        default="adamw",
        metadata=flag("torch's fused AdamW, or FusedAdam of NVIDIA's apex, which is not on PyPI."),
    )
    layer_decay: float = field(
        default=1.0,
        metadata=flag(
            "Each layer's learning rate is this times that of the layer above; 1: all are equal."
        ),
    )
    unfreeze_steps: int = field(
        default=0,
        metadata=flag(
            "Train the head first and one layer more after every N updates, from the top down, the "
            "embeddings last; 0: all at once.",
            metavar="N",
        ),
    )
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
        count(
            1,
            per_gpu_train_batch_size=self.per_gpu_train_batch_size,
            gradient_accumulation_steps=self.gradient_accumulation_steps,
            num_training_epochs=self.num_training_epochs,
            global_batch_size=self.global_batch_size,
            max_tokens_per_batch=self.max_tokens_per_batch,
        )
        more_than(
            0,
            learning_rate=self.learning_rate,
            adam_epsilon=self.adam_epsilon,
            layer_decay=self.layer_decay,
        )
        count(0, num_warmup_steps=self.num_warmup_steps, unfreeze_steps=self.unfreeze_steps)
        at_least(0, weight_decay=self.weight_decay, max_grad_norm=self.max_grad_norm)
        at_most(LARGEST_COUNT, num_training_steps=self.num_training_steps)
        at_most(1, layer_decay=self.layer_decay)
        finite(
            learning_rate=self.learning_rate,
            adam_epsilon=self.adam_epsilon,
            weight_decay=self.weight_decay,
        )
        share_below_one(label_smoothing=self.label_smoothing)
        self._check_size_of_an_update()
        if self.num_training_steps < 1 and self.num_training_steps != -1:
            raise ValueError(
                f"--num_training_steps is {self.num_training_steps}: give a number of at least 1, "
                "or -1 to train for --num_training_epochs"
            )
        if 0 < self.num_training_steps < self.num_warmup_steps:
            raise ValueError(
                f"--num_warmup_steps {self.num_warmup_steps} is more than --num_training_steps "
                f"{self.num_training_steps}: lower the one or raise the other"
            )

    def _check_size_of_an_update(self) -> None:
        """Refuse what contradicts `--global_batch_size`, and what is too much together."""
        examples, passes = self.per_gpu_train_batch_size, self.gradient_accumulation_steps
        if self.global_batch_size is not None and passes != 1:
            raise ValueError(
                "--global_batch_size decides how often gradients are accumulated: leave "
                f"--gradient_accumulation_steps {passes} out"
            )
        if examples * passes > LARGEST_COUNT:
            raise ValueError(
                f"--per_gpu_train_batch_size {examples} and --gradient_accumulation_steps {passes} "
                f"make an update of more than {LARGEST_COUNT} examples: lower one of them"
            )
