"""The options of training that concern the devices, their number format and their memory."""

from dataclasses import dataclass, field

from s2s_ft.options.checks import at_least, at_most_one_of
from s2s_ft.options.flags import flag


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
    fsdp: bool = field(
        default=False,
        metadata=flag("Spread weights, gradients and optimizer over the devices (FSDP2)."),
    )
    gradient_checkpointing: bool = field(
        default=False,
        metadata=flag("Compute activations a second time instead of keeping them: less memory."),
    )
    auto_batch_size: bool = field(
        default=False,
        metadata=flag(
            "Find the largest --per_gpu_train_batch_size that fits; an update stays as large."
        ),
    )
    torch_compile: bool = field(
        default=False,
        metadata=flag(
            "Compile the encoder's layers with torch.compile; for GPUs, on a CPU it does not pay."
        ),
    )
    deterministic: bool = field(
        default=False,
        metadata=flag(
            "On a GPU: the same bits in every run, by slower kernels; on a CPU they always are."
        ),
    )
    server_ip: str = field(default="", metadata=flag(obsolete=True))
    server_port: str = field(default="", metadata=flag(obsolete=True))

    def __post_init__(self) -> None:
        """Check the values."""
        at_most_one_of(fp16=self.fp16, bf16=self.bf16)
        at_most_one_of(fp16=self.fp16, fsdp=self.fsdp)
        at_least(-1, local_rank=self.local_rank)
        if self.fp16_opt_level.upper() not in ("O0", "O1", "O2", "O3"):
            raise ValueError(
                f"--fp16_opt_level is {self.fp16_opt_level!r}: give O0, O1, O2 or O3 (the letter O)"
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed is {self.seed}: give a number from 0 to {2**32 - 1}")
