"""The options of training that concern a teacher."""

from dataclasses import dataclass, field

from s2s_ft.options.checks import not_empty, probability, within
from s2s_ft.options.flags import flag


@dataclass(frozen=True, kw_only=True)
class DistillationOptions:
    """A larger fine-tuned model whose predictions are learnt beside the labels."""

    teacher_model: str | None = field(
        default=None,
        metadata=flag(
            "Fine-tuned checkpoint of the same vocabulary and method: folder or hub name.",
            metavar="MODEL",
        ),
    )
    distill_alpha: float = field(
        default=0.5, metadata=flag("Weight of the teacher in the loss; the labels have the rest.")
    )
    distill_temperature: float = field(
        default=1.0,
        metadata=flag("Divides the logits of both models before they are compared."),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(teacher_model=self.teacher_model)
        probability(distill_alpha=self.distill_alpha)
        within(0.001, 1000, distill_temperature=self.distill_temperature)
        if self.teacher_model is not None:
            return
        usual = DistillationOptions.__dataclass_fields__
        for name in ("distill_alpha", "distill_temperature"):
            if getattr(self, name) != usual[name].default:
                raise ValueError(f"--{name} needs a teacher: give --teacher_model or leave it out")
