"""The options of training small adapters in place of the whole encoder (package `peft`)."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from s2s_ft.options.checks import at_most, more_than, not_empty, share_below_one, within
from s2s_ft.options.flags import flag

AdapterKind = Literal["lora", "dora", "ia3"]

LARGEST_RANK = 2**16
LARGEST_ALPHA = 10**6


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """Which adapter, where, how large, and what a checkpoint holds of it."""

    peft: AdapterKind | None = field(
        default=None,
        metadata=flag(
            "Train an adapter, and the output head where the encoder has none; all other weights "
            "stay as they are. Needs the package peft."
        ),
    )
    lora_rank: int = field(default=16, metadata=flag("Rank of the adapter (lora, dora)."))
    lora_alpha: float = field(
        default=32.0, metadata=flag("Its output is scaled by this over its rank (lora, dora).")
    )
    lora_dropout: float = field(default=0.0, metadata=flag("Dropout on its input (lora, dora)."))
    peft_targets: str | None = field(
        default=None,
        metadata=flag(
            "Linear layers that get an adapter, by the end of their names, with commas between, "
            "such as query,value; all those of every encoder layer unless given.",
            metavar="NAMES",
        ),
    )
    peft_save: Literal["merged", "adapter"] = field(
        default="merged",
        metadata=flag(
            "What a checkpoint holds for decoding: the encoder with the adapter merged in, or the "
            "adapter by itself, as peft saves it."
        ),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        within(1, LARGEST_RANK, lora_rank=self.lora_rank)
        more_than(0, lora_alpha=self.lora_alpha)
        at_most(LARGEST_ALPHA, lora_alpha=self.lora_alpha)
        share_below_one(lora_dropout=self.lora_dropout)
        not_empty(peft_targets=self.peft_targets)
        self._refuse_flags_without_effect()

    def _refuse_flags_without_effect(self) -> None:
        """The other flags say nothing where no adapter is trained; ia3 has no rank."""
        for each in dataclasses.fields(self):
            if getattr(self, each.name) == each.default:
                continue
            if self.peft is None:
                raise ValueError(f"--{each.name} has no effect without --peft: give both or none")
            if self.peft == "ia3" and each.name.startswith("lora_"):
                raise ValueError(
                    f"--{each.name} has no effect with --peft ia3: leave it out, or give --peft "
                    "lora or dora"
                )
