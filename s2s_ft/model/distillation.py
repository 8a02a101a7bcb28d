"""A teacher's say in the loss: at every supervised position the student is drawn towards the whole
distribution that a larger model has there (Hinton et al. 2015).

    loss = (1 - a) * smoothed loss of the label  +  a * T^2 * KL(teacher || student)

both distributions taken at temperature T; T^2 keeps the second part's gradient as large as the
first's. Summed over supervised rows, as the loss without a teacher is.

Notable: as in `loss.py` the gradient is known in closed form and made while the softmax is at hand:
with p the teacher's and q the student's distribution, that of T^2 KL(p || q) on the student's
logits is T (q - p). The teacher sees the very batch that the student sees, corruption included.

Letters: N supervised rows, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from s2s_ft.layout import Batch
from s2s_ft.model.seq2seq import Seq2SeqModel


@dataclass(frozen=True, eq=False)
class Teacher:
    """What a student's loss asks besides the labels (`Seq2SeqModel.teacher`).

    Attributes:
        model: Fine-tuned, of the student's vocabulary and method; in evaluation mode, no gradient.
        alpha: Its weight a, in (0, 1].
        temperature: T, above 0.
    """

    model: Seq2SeqModel
    alpha: float
    temperature: float

    def __call__(self, loss: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """The loss with the teacher's part in it.

        Args:
            loss: Float32 scalar, the labels' part, summed over supervised rows.
            logits: [N, V] of the student.
            batch: What both look at.

        Returns:
            Float32 scalar.
        """
        with torch.no_grad():
            wanted = self.model.logits(batch)
        divergence = distillation_loss(logits, wanted, self.temperature)
        return (1.0 - self.alpha) * loss + self.alpha * divergence


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Summed T^2 KL(teacher || student) of the supervised rows.

    Args:
        logits: [N, V] of the student, any float type; the arithmetic is float32.
        teacher_logits: [N, V]; no gradient goes there.
        temperature: T, above 0.

    Returns:
        Float32 scalar, the sum over rows.
    """
    loss: Tensor = _DistillationLoss.apply(  # type: ignore[no-untyped-call]
        logits, teacher_logits, temperature
    )
    return loss


class _DistillationLoss(torch.autograd.Function):
    """The closed form at the top of this file."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
        """See `distillation_loss`."""
        student = (logits.float() / temperature).log_softmax(dim=-1)
        teacher = (teacher_logits.float() / temperature).log_softmax(dim=-1)
        wanted = teacher.exp()
        rows = (wanted * (teacher - student)).sum(dim=-1)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(student.exp_().sub_(wanted).mul_(temperature))
            ctx.dtype = logits.dtype
        return rows.sum() * temperature**2

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        """The kept gradient times the scalar that comes from above."""
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None, None
