"""The closed form of label smoothing against the dense target it stands for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from s2s_ft.model import loss as module
from s2s_ft.model.loss import smoothed_loss


def dense(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    target = torch.full_like(logits, smoothing / (logits.shape[1] - 2))
    target[:, 0] = 0.0
    target.scatter_(1, labels[:, None], 1.0 - smoothing)
    target[labels == 0] = 0.0
    return F.kl_div(logits.log_softmax(-1), target, reduction="sum")


@pytest.mark.parametrize("smoothing", [0.1, 0.3, 0.01])
def test_closed_form_equals_the_dense_target(smoothing: float) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(9, 50) * 3).requires_grad_()
    labels = torch.tensor([0, 1, 5, 49, 3, 0, 7, 8, 9])
    ours, theirs = smoothed_loss(logits, labels, smoothing), dense(logits, labels, smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-5)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)


def test_without_smoothing_it_is_cross_entropy() -> None:
    logits, labels = torch.randn(5, 20), torch.tensor([0, 3, 19, 4, 4])
    torch.testing.assert_close(
        smoothed_loss(logits, labels, 0.0), F.cross_entropy(logits, labels, reduction="sum")
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_rows_without_a_label_are_left_out(
    smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHED_ELEMENTS", 2 * 50)  # the last label is not the last of two
    torch.manual_seed(0)
    logits, labels = torch.randn(9, 50), torch.tensor([4, 0, 7])
    longer, exact = logits.clone().requires_grad_(), logits[:3].clone().requires_grad_()
    losses = [smoothed_loss(each, labels, smoothing) for each in (longer, exact)]
    assert torch.equal(*losses)
    gradient, expected = (
        torch.autograd.grad(loss, each)[0]
        for loss, each in zip(losses, (longer, exact), strict=True)
    )
    assert torch.equal(gradient[:3], expected)
    assert torch.equal(gradient[3:], torch.zeros(6, 50))


def test_low_precision_logits_are_summed_in_float32() -> None:
    logits = torch.randn(4, 30_000).bfloat16()
    loss = smoothed_loss(logits, torch.tensor([1, 2, 3, 4]), 0.1)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, smoothed_loss(logits.float(), torch.tensor([1, 2, 3, 4]), 0.1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_factor_on_the_loss_is_one_on_the_gradient(smoothing: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 50).to(dtype), torch.tensor([4, 0, 7, 1, 1])
    outcomes = []
    for inside, behind in ((1.0, 0.3), (0.3, 1.0), (torch.tensor(0.6), 0.5)):
        given = logits.clone().requires_grad_()
        loss = smoothed_loss(given, labels, smoothing, inside) * behind
        loss.backward()
        assert given.grad is not None
        outcomes.append((loss.detach(), given.grad))
    for loss, gradient in outcomes[1:]:
        torch.testing.assert_close(loss, outcomes[0][0])
        torch.testing.assert_close(gradient, outcomes[0][1])
