"""The options of training that concern the pretrained encoder and the fine-tuning method.

Notable: the method has two flags, its name and an older one; `ModelOptions.method` is what to read.
"""

from dataclasses import dataclass, field
from typing import Literal

from s2s_ft.options.checks import not_empty, share_below_one
from s2s_ft.options.flags import flag

FineTuningMethod = Literal["causal", "masked", "pseudo_mask"]
MaskWay = Literal["v0", "v1", "v2"]

METHOD_OF_MASK_WAY: dict[MaskWay, FineTuningMethod] = {
    "v0": "causal",
    "v1": "masked",
    "v2": "pseudo_mask",
}


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The pretrained encoder, and the method that fine-tunes it."""

    model_name_or_path: str = field(
        metadata=flag("Pretrained encoder: folder or hub name.", metavar="MODEL")
    )
    config_name: str | None = field(
        default=None,
        metadata=flag("Config to use instead of the encoder's own: folder or hub name."),
    )
    tokenizer_name: str | None = field(
        default=None,
        metadata=flag("Tokenizer to use instead of the encoder's own: folder or hub name."),
    )
    additional_tokens: str | None = field(
        default=None,
        metadata=flag(
            "Text file with tokens to add to the tokenizer, one a line; each starts from the mean "
            "of its pieces.",
            metavar="FILE",
        ),
    )
    cache_dir: str | None = field(
        default=None, metadata=flag("Folder for what is downloaded from the hub.", metavar="DIR")
    )
    do_lower_case: bool = field(
        default=False, metadata=flag("Lower-case all text; the tokenizer decides unless given.")
    )
    fine_tuning_method: FineTuningMethod | None = field(
        default=None, metadata=flag("How the encoder learns to generate; pseudo_mask unless given.")
    )
    mask_way: MaskWay | None = field(
        default=None,
        metadata=flag(
            "Older name of --fine_tuning_method: v0 is causal, v1 masked, v2 pseudo_mask.",
            older_name_of="fine_tuning_method",
        ),
    )
    fix_word_embedding: bool = field(
        default=False, metadata=flag("Keep the word embeddings as they are.")
    )
    dropout: float | None = field(
        default=None,
        metadata=flag(
            "Probability for every dropout of the encoder; as in its config unless given."
        ),
    )
    fresh_head: Literal["identity", "random"] = field(
        default="identity",
        metadata=flag("First values of the output head's transform where the encoder has no head."),
    )
    model_type: str | None = field(default=None, metadata=flag(obsolete=True))

    def __post_init__(self) -> None:
        """Check the values and settle the method: `fine_tuning_method` is never None afterwards."""
        not_empty(
            model_name_or_path=self.model_name_or_path,
            config_name=self.config_name,
            tokenizer_name=self.tokenizer_name,
            additional_tokens=self.additional_tokens,
            cache_dir=self.cache_dir,
        )
        share_below_one(dropout=self.dropout)
        # The default is None, not "pseudo_mask", to tell a contradiction from silence.
        object.__setattr__(self, "fine_tuning_method", self.method)

    @property
    def method(self) -> FineTuningMethod:
        """The fine-tuning method, whichever of its two flags was given."""
        older = None if self.mask_way is None else METHOD_OF_MASK_WAY[self.mask_way]
        given = self.fine_tuning_method
        if given is not None and older is not None and given != older:
            raise ValueError(
                f"--fine_tuning_method {given} contradicts --mask_way {self.mask_way}, the older "
                f"name of {older}: give one of them"
            )
        return given or older or "pseudo_mask"
