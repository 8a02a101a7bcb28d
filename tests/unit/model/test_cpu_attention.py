"""The written-out attention against autograd's, its dropout, and what padding does to it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from s2s_ft.layout import Batch
from s2s_ft.model import full_pass
from s2s_ft.model.attention import AttentionCall
from s2s_ft.model.full_pass import FullPass
from tests.unit.model.attention_batches import (
    assert_no_number_spreads,
    batch,
    outcome,
    rows_of,
)

HEADS, SIZE = 3, 8


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread has rectangles of like shape, several have one for all; nothing is compiled."""
    monkeypatch.setattr(full_pass, "takes", lambda _dtype: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: request.param)


def heads_of(laid: Batch, dtype: torch.dtype, kv_heads: int = HEADS) -> list[Tensor]:
    return rows_of(laid, dtype, heads=HEADS, size=SIZE, kv_heads=kv_heads)


def outcome_of(
    name: str, laid: Batch, call: AttentionCall, *, dtype: torch.dtype, **options: int | None
) -> list[Tensor]:
    """Result and gradients of one of the two ways."""
    plan = FullPass(laid)
    plan.narrowed_layer = options.get("narrowed")
    return outcome(plan, heads_of(laid, dtype, options.get("kv_heads") or HEADS), call, name)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("narrowed", [None, 0])
@pytest.mark.parametrize("kv_heads", [1, 3])
def test_it_equals_autograd(
    blocks: int, window: int | None, narrowed: int | None, kv_heads: int
) -> None:
    laid, call = batch(blocks), AttentionCall(0.3, 0.0, window)
    given = {"narrowed": narrowed, "kv_heads": kv_heads}
    ours = outcome_of("_attend_written_out", laid, call, dtype=torch.float64, **given)
    theirs = outcome_of("_attend_by_autograd", laid, call, dtype=torch.float64, **given)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_what_is_no_number_stays_with_its_example(dropout: float) -> None:
    assert_no_number_spreads(torch.float64, dropout)


def test_it_follows_autocast() -> None:
    laid, call = batch(2), AttentionCall(0.3, 0.0, None)
    exact = outcome_of("_attend_written_out", laid, call, dtype=torch.float32)
    plan = FullPass(laid)
    with torch.autocast("cpu", torch.bfloat16):
        result = plan.attend(0, *heads_of(laid, torch.float32), call)
    assert result.dtype is torch.bfloat16
    torch.testing.assert_close(result.float(), exact[0], atol=0.03, rtol=0.05)


def test_dropout_has_the_right_mean_and_gradient() -> None:
    laid = batch(2)
    call = AttentionCall(0.3, 0.4, None)
    exact = outcome_of(
        "_attend_written_out", laid, AttentionCall(0.3, 0.0, None), dtype=torch.float64
    )
    means = [torch.zeros_like(each) for each in exact]
    rounds = 600
    torch.manual_seed(0)
    for _ in range(rounds):
        for mean, each in zip(
            means, outcome_of("_attend_written_out", laid, call, dtype=torch.float64), strict=True
        ):
            mean += each.detach() / rounds
    for mean, expected in zip(means[::3], exact[::3], strict=True):  # linear in the weights
        torch.testing.assert_close(mean, expected.detach(), atol=0.15, rtol=0.0)


def test_gradient_with_a_fixed_mask() -> None:
    laid, call = batch(2), AttentionCall(0.3, 0.4, None)
    plan = FullPass(laid)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        torch.manual_seed(3)
        return plan.attend(0, query, key, value, call)

    small = [each[:, :1].detach().requires_grad_() for each in heads_of(laid, torch.float64)]
    assert torch.autograd.gradcheck(attend, small)
