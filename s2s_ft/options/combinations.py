"""Flags of different groups that cannot be given together, with the reason why."""

from typing import Any

from s2s_ft.options.adapter import AdapterOptions
from s2s_ft.options.distillation import DistillationOptions
from s2s_ft.options.model import ModelOptions
from s2s_ft.options.optimization import OptimizationOptions
from s2s_ft.options.runtime import RuntimeOptions

# Two flags, each alone or with the value it must have to count, and why they do not go together.
_REFUSED: tuple[tuple[str, str, str], ...] = (
    ("optimizer apex", "no_cuda", "FusedAdam runs on CUDA devices only"),
    ("optimizer apex", "fsdp", "FusedAdam does not know weights that are spread over devices"),
    ("optimizer apex", "unfreeze_steps", "FusedAdam counts updates for all weights together"),
    ("peft", "fsdp", "an adapter cannot be merged into weights that are spread over devices"),
    ("peft", "layer_decay", "an adapter has one learning rate"),
    ("peft", "unfreeze_steps", "the encoder's own weights stay frozen"),
    ("unfreeze_steps", "fsdp", "what is trained is fixed once weights are spread over devices"),
    ("fsdp", "torch_compile", "spread weights are not what was compiled"),
    ("fp16", "fsdp", "spread gradients are not unscaled; --bf16 needs no scaling"),
    ("auto_batch_size", "fsdp", "the trial runs before weights are spread over devices"),
    ("deterministic", "torch_compile", "kernels made on the spot may differ from run to run"),
    ("unfreeze_steps", "torch_compile", "every stage would be compiled anew"),
    ("auto_batch_size", "max_tokens_per_batch", "one of them decides what fits"),
    ("teacher_model", "fsdp", "every device would hold the whole teacher"),
    ("teacher_model", "additional_tokens", "the teacher does not know these tokens"),
    ("additional_tokens", "peft_save adapter", "an adapter has no rows of the vocabulary"),
)


def check_combinations(
    model: ModelOptions,
    optimization: OptimizationOptions,
    adapter: AdapterOptions,
    distillation: DistillationOptions,
    runtime: RuntimeOptions,
) -> None:
    """Refuse what is not supported together.

    Raises:
        ValueError: The message names both flags.
    """
    groups = (model, optimization, adapter, distillation, runtime)
    values = {name: value for group in groups for name, value in vars(group).items()}
    for one, other, reason in _REFUSED:
        if _is_given(one, values) and _is_given(other, values):
            raise ValueError(f"--{one} and --{other} exclude each other: {reason}")


def _is_given(flag: str, values: dict[str, Any]) -> bool:
    """Whether a flag has the value that counts: the one named, or any that switches it on."""
    name, _, wanted = flag.partition(" ")
    value = values[name]
    if wanted:
        return bool(value == wanted)
    return value not in ((1.0,) if name == "layer_decay" else (None, False, 0))
