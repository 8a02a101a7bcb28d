"""How many updates a run takes, where each one stands in the data, and its learning rate.

Notable: everything here is a pure function of the number of the update, so a resumed run needs no
scheduler state. An update is counted from 0; the first one of a run with warm-up has learning rate
0, as in the original.

      rate
    peak |      .
         |    /   \\
         |  /       \\
       0 |/___________\\___ update
         0   warm-up    total
"""

from __future__ import annotations

from dataclasses import dataclass

from s2s_ft.data.batches import steps_per_epoch
from s2s_ft.options.optimization import OptimizationOptions


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The plan of a run, computed once.

    Attributes:
        total_steps: Optimizer updates of the whole run.
        steps_per_epoch: Updates that see every example once; the last one may be smaller.
        global_batch_size: Examples in an update, over all ranks.
        warmup_steps: Updates before the learning rate reaches its peak.
    """

    total_steps: int
    steps_per_epoch: int
    global_batch_size: int
    warmup_steps: int

    def locate(self, step: int) -> tuple[int, int]:
        """Epoch and batch inside the epoch, both counted from 0, of update `step`."""
        return divmod(step, self.steps_per_epoch)

    def learning_rate(self, step: int, peak: float) -> float:
        """Learning rate of update `step`: up linearly to `peak`, then down to 0 at the end."""
        if step < self.warmup_steps:
            return peak * step / self.warmup_steps
        remaining = max(0, self.total_steps - step)
        return peak * remaining / max(1, self.total_steps - self.warmup_steps)


def global_batch_size(options: OptimizationOptions, num_ranks: int) -> int:
    """Examples in an update, over all ranks: `--global_batch_size`, or what the other flags make.

    Args:
        options: The flags.
        num_ranks: Processes that train together.
    """
    if options.global_batch_size is not None:
        return options.global_batch_size
    return options.per_gpu_train_batch_size * options.gradient_accumulation_steps * num_ranks


def plan_schedule(
    num_examples: int,
    *,
    global_batch_size: int,
    num_training_steps: int,
    num_training_epochs: int,
    warmup_steps: int,
) -> Schedule:
    """The schedule of a run over `num_examples` examples.

    Args:
        num_examples: Rows of the training data, at least 1.
        global_batch_size: Examples in an update.
        num_training_steps: Updates to take; zero or less leaves it to the epochs.
        num_training_epochs: Passes over the data, used when the updates are not given.
        warmup_steps: Updates of the linear warm-up.

    Raises:
        ValueError: Nothing would be trained, or the warm-up is longer than the run.
    """
    per_epoch = steps_per_epoch(num_examples, global_batch_size)
    total = num_training_steps if num_training_steps > 0 else num_training_epochs * per_epoch
    if total <= 0:
        raise ValueError(
            f"nothing to train: --num_training_steps {num_training_steps} and "
            f"--num_training_epochs {num_training_epochs}; give one of them a positive value"
        )
    if warmup_steps > total:
        raise ValueError(
            f"--num_warmup_steps {warmup_steps} is more than the {total} updates of the run; "
            "lower it or raise --num_training_steps"
        )
    return Schedule(
        total_steps=total,
        steps_per_epoch=per_epoch,
        global_batch_size=global_batch_size,
        warmup_steps=max(0, warmup_steps),
    )
