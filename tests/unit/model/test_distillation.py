"""The teacher's part of the loss: torch's kl_div says the same, gradients included."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from s2s_ft.layout import Batch
from s2s_ft.methods import METHODS, method_named
from s2s_ft.model.distillation import Teacher, distillation_loss
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import SpecialIds
from tests.conftest import VOCABULARY

SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=len(VOCABULARY))


def batch_of(name: str) -> Batch:
    method = method_named(name, special=SPECIAL, max_source_length=12, max_target_length=6)
    rng = np.random.default_rng(1)
    examples = [
        method.corrupt(rng.integers(5, 40, size), rng.integers(5, 40, 4), rng) for size in (7, 3)
    ]
    return method.lay_out(examples)


def reference(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    return temperature**2 * F.kl_div(
        F.log_softmax(student / temperature, dim=-1),
        F.log_softmax(teacher / temperature, dim=-1),
        reduction="sum",
        log_target=True,
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.0])
def test_value_and_gradient_are_those_of_torch(temperature: float) -> None:
    torch.manual_seed(0)
    student = torch.randn(5, 11, requires_grad=True)
    other = student.detach().clone().requires_grad_()
    teacher = 3 * torch.randn(5, 11)
    loss = distillation_loss(student, teacher, temperature)
    expected = reference(other, teacher, temperature)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    (0.3 * loss).backward()
    (0.3 * expected).backward()
    assert student.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(student.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_gradient_agrees_with_differences() -> None:
    torch.manual_seed(1)
    teacher = torch.randn(3, 6)
    student = torch.randn(3, 6)
    leaf = student.clone().requires_grad_()
    distillation_loss(leaf, teacher, 1.5).backward()
    assert leaf.grad is not None
    for row, column in ((0, 0), (2, 5)):
        moved = student.clone()
        moved[row, column] += 1e-2
        back = student.clone()
        back[row, column] -= 1e-2
        slope = distillation_loss(moved, teacher, 1.5) - distillation_loss(back, teacher, 1.5)
        assert leaf.grad[row, column].item() == pytest.approx(slope.item() / 2e-2, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    student = (10 * torch.randn(4, 9)).to(dtype).requires_grad_()
    teacher = (10 * torch.randn(4, 9)).to(dtype)
    loss = distillation_loss(student, teacher, 2.0)
    assert loss.dtype == torch.float32
    loss.backward()
    assert student.grad is not None
    assert student.grad.dtype == dtype
    expected = reference(student.detach().float(), teacher.float(), 2.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_certain_distributions_stay_finite() -> None:
    student = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    teacher = torch.tensor([[1e4, -1e4, 0.0]])
    loss = distillation_loss(student, teacher, 1.0)
    loss.backward()
    assert math.isfinite(loss.item())
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.fixture
def models(tiny_checkpoint: Callable[[str], Path]) -> tuple[Seq2SeqModel, Seq2SeqModel]:
    """A student, and a teacher with the same weights."""
    folder = str(tiny_checkpoint("bert"))
    return load_finetuned(folder), load_finetuned(folder)


@pytest.mark.parametrize("name", [each.name for each in METHODS])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(
    models: tuple[Seq2SeqModel, Seq2SeqModel], name: str
) -> None:
    student, teacher = models
    student.teacher = Teacher(teacher, alpha=1.0, temperature=1.0)
    loss = student.loss(batch_of(name), 0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0.0, abs=1e-5)
    for parameter_name, parameter in student.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.abs().max() < 1e-5, parameter_name
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_weights_mix_the_two_losses(models: tuple[Seq2SeqModel, Seq2SeqModel]) -> None:
    student, teacher = models
    with torch.no_grad():
        teacher.encoder.get_input_embeddings().weight.mul_(1.5)
    batch = batch_of("pseudo_mask")
    plain = student.loss(batch, 0.1)
    with torch.no_grad():
        divergence = reference(student.logits(batch), teacher.logits(batch), 2.0)
    student.teacher = Teacher(teacher, alpha=0.3, temperature=2.0)
    expected = 0.7 * plain.item() + 0.3 * divergence.item()
    assert student.loss(batch, 0.1).item() == pytest.approx(expected, rel=1e-5)


def test_the_teacher_is_no_part_of_the_student(
    models: tuple[Seq2SeqModel, Seq2SeqModel],
) -> None:
    student, teacher = models
    names = set(student.state_dict())
    student.teacher = Teacher(teacher, alpha=0.5, temperature=1.0)
    assert set(student.state_dict()) == names
    assert not {id(each) for each in teacher.parameters()} & {
        id(each) for each in student.parameters()
    }
    student.train()
    assert not teacher.training
