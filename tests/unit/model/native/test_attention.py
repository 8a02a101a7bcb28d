"""The compiled attention against autograd's; its dropout, threads, and what is no number."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from s2s_ft.layout import Batch
from s2s_ft.model.attention import AttentionCall
from s2s_ft.model.full_pass import FullPass
from s2s_ft.model.native.attention import kernel
from s2s_ft.model.native.trial import is_available, takes
from tests.unit.model.attention_batches import (
    SHORT,
    Sizes,
    assert_no_number_spreads,
    batch,
    outcome,
    rows_of,
)

pytestmark = pytest.mark.skipif(not is_available(), reason="no C compiler here")

LONG: Sizes = ((150, 21), (33, 4), (64, 8), (1, 1))
"""More rows than are worked on at a time; whole and broken vectors; the least there is."""


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("sizes", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("narrowed", [None, 0])
@pytest.mark.parametrize("left_to_right", [False, True])
def test_it_equals_autograd(
    sizes: Sizes,
    blocks: int,
    window: int | None,
    narrowed: int | None,
    *,
    left_to_right: bool,
) -> None:
    laid, call = batch(blocks, sizes), AttentionCall(0.3, 0.0, window)
    plan = FullPass(laid, left_to_right_source=left_to_right)
    plan.narrowed_layer = narrowed
    inputs = rows_of(laid, torch.float32, heads=3, size=8)
    assert takes(torch.float32)
    ours = outcome(plan, inputs, call, "_attend_written_out")
    exact = [each.detach().double().requires_grad_() for each in inputs]
    theirs = outcome(plan, exact, call, "_attend_by_autograd")
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.double(), other, atol=3e-6, rtol=3e-6)


@pytest.mark.parametrize("size", [1, 16, 32, 40, 64, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_of_any_size(size: int, dtype: torch.dtype) -> None:
    laid, call = batch(2, LONG), AttentionCall(size**-0.5, 0.0, None)
    plan, inputs = FullPass(laid), rows_of(laid, dtype, heads=2, size=size)
    ours = outcome(plan, inputs, call, "_attend_written_out")
    exact = [each.detach().double().requires_grad_() for each in inputs]
    theirs = outcome(plan, exact, call, "_attend_by_autograd")
    error = 3e-6 if dtype is torch.float32 else 0.03
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype is dtype
        torch.testing.assert_close(one.double(), other, atol=error, rtol=error)


def test_other_types_are_left_to_torch() -> None:
    assert not takes(torch.float64)
    assert not takes(torch.float16)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_what_is_no_number_stays_with_its_example(dropout: float) -> None:
    assert_no_number_spreads(torch.float32, dropout)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_value_that_is_no_number_is_not_lost_in_bfloat16(bad: float) -> None:
    laid = batch(2)
    inputs = rows_of(laid, torch.bfloat16, heads=3, size=8)
    with torch.no_grad():
        inputs[2][:, :, 0] = bad
    result = FullPass(laid).attend(0, *inputs, AttentionCall(0.3, 0.0, None))
    assert not result[:, :, 0].isfinite().any()


def test_large_scores_neither_overflow_nor_vanish() -> None:
    laid = batch(2, LONG)
    inputs = rows_of(laid, torch.float32, heads=2, size=32)
    with torch.no_grad():
        inputs[0].mul_(300.0)
    plan, call = FullPass(laid), AttentionCall(1.0, 0.0, None)
    ours = outcome(plan, inputs, call, "_attend_written_out")
    exact = [each.detach().double().requires_grad_() for each in inputs]
    theirs = outcome(plan, exact, call, "_attend_by_autograd")
    for one, other in zip(ours, theirs, strict=True):
        scale = float(other.detach().abs().max())
        torch.testing.assert_close(one.double() / scale, other / scale, atol=1e-3, rtol=0.0)


def test_where_all_scores_are_far_below_zero_nobody_looks_at_what_is_hidden() -> None:
    laid = batch(2, LONG)
    inputs = rows_of(laid, torch.float32, heads=2, size=32)
    with torch.no_grad():
        inputs[0].add_(40.0)
        inputs[1].add_(-40.0)
    plan, call = FullPass(laid), AttentionCall(1.0, 0.0, None)
    ours = plan.attend(0, *inputs, call)
    theirs = FullPass(laid)._attend_by_autograd(0, *(each.double() for each in inputs), call)
    assert ((ours - theirs).abs().max() / theirs.abs().max()).item() < 0.05


def test_nobody_looks_where_it_may_not() -> None:
    laid = batch(2)
    plan, call = FullPass(laid), AttentionCall(0.3, 0.0, None)
    inputs = rows_of(laid, torch.float32, heads=3, size=8)
    before = plan.attend(0, *inputs, call)
    length = laid.ids.shape[1]
    last = laid.cells == 1 * length + laid.source_size + 4  # the last target token of example 1
    with torch.no_grad():
        for each in inputs[1:]:
            each[:, :, last] = 1e30
    after = plan.attend(0, *inputs, call)
    assert torch.equal(before[:, :, ~last], after[:, :, ~last])


def test_the_number_of_threads_changes_no_bit() -> None:
    laid, call = batch(2, LONG), AttentionCall(0.3, 0.3, None)
    inputs = rows_of(laid, torch.bfloat16, heads=4, size=32)
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        torch.manual_seed(5)
        found.append(outcome(FullPass(laid), inputs, call, "_attend_written_out"))
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def weights_of(laid: Batch, seed: int, dropout: float, heads: int) -> Tensor:
    """[H, C, L] what comes of the attention weights: the values are unit vectors, one a row."""
    length = laid.ids.shape[1]
    generator = torch.Generator().manual_seed(1)
    query, key = torch.randn(2, 1, heads, laid.num_tokens, length, generator=generator)
    value = torch.eye(length)[laid.cells % length].expand(1, heads, -1, -1)
    torch.manual_seed(seed)
    return FullPass(laid).attend(0, query, key, value, AttentionCall(0.2, dropout, None))[0]


def test_dropout_keeps_the_share_it_should() -> None:
    laid, heads = batch(2, LONG), 8
    exact, found = (weights_of(laid, 0, dropout, heads) for dropout in (0.0, 0.25))
    looks = exact > 0.0
    kept = found[looks] > 0.0
    assert kept.float().mean() == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / kept.numel()) ** 0.5)
    torch.testing.assert_close(found[looks][kept], exact[looks][kept] / 0.75, atol=1e-6, rtol=1e-4)


def test_dropout_is_drawn_for_each_weight_by_itself() -> None:
    laid, heads = batch(2, ((40, 20), (40, 20))), 8
    exact = weights_of(laid, 0, 0.0, heads)
    looks = (exact > 0.0)[:, :, :40]
    kept = (weights_of(laid, 0, 0.5, heads)[:, :, :40] > 0.0).float() * 2.0 - 1.0
    assert looks.all()  # everybody looks at the source
    rows = kept.flatten(0, 1)  # of all heads and examples
    likeness = (rows @ rows.T / rows.shape[1]).fill_diagonal_(0.0)
    assert likeness.abs().max() < 6.0 / rows.shape[1] ** 0.5
    columns = rows.T @ rows / rows.shape[0]
    assert columns.fill_diagonal_(0.0).abs().max() < 6.0 / rows.shape[0] ** 0.5
    other = (weights_of(laid, 1, 0.5, heads)[:, :, :40] > 0.0).float() * 2.0 - 1.0
    assert (kept * other).mean().abs() < 6.0 / kept.numel() ** 0.5
    again = (weights_of(laid, 0, 0.5, heads)[:, :, :40] > 0.0).float() * 2.0 - 1.0
    assert torch.equal(kept, again)


def test_gradients_with_dropout_are_those_of_what_was_kept() -> None:
    laid = batch(2)
    length, heads, dropout = laid.ids.shape[1], 3, 0.4
    exact, found = (weights_of(laid, 7, share, heads) for share in (0.0, dropout))
    mask = torch.where(exact > 0.0, found / exact, 0.0).double()  # [H, C, L]
    call, plan = AttentionCall(0.2, dropout, None), FullPass(laid)
    generator = torch.Generator().manual_seed(4)
    inputs = [torch.randn(1, heads, laid.num_tokens, 8, generator=generator) for _ in range(3)]
    ours_in = [each.clone().requires_grad_() for each in inputs]
    torch.manual_seed(7)
    ours = outcome(plan, ours_in, call, "_attend_written_out")

    theirs_in = [each.double().requires_grad_() for each in inputs]
    query, key, value = (each[0] for each in theirs_in)
    parts = torch.zeros(heads, laid.num_tokens, 8, dtype=torch.float64)
    allowed = exact[0] > 0.0  # [C, L]
    for example in range(laid.num_examples):
        own = (laid.cells // length == example).nonzero().squeeze(1)
        columns = laid.cells[own] % length
        scores = query[:, own] @ key[:, own].transpose(1, 2) * 0.2
        hidden = ~allowed[own][:, columns]
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1) * mask[:, own][:, :, columns]
        parts = parts.index_add(1, own, weights @ value[:, own])
    pull = torch.randn(1, *parts.shape, generator=torch.Generator().manual_seed(2)).double()
    theirs = [parts[None], *torch.autograd.grad(parts[None], theirs_in, pull)]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-4, rtol=1e-4)


def test_without_a_gradient_only_the_result_is_computed() -> None:
    laid, call = batch(1), AttentionCall(0.3, 0.0, None)
    inputs = rows_of(laid, torch.float32, heads=3, size=8)
    with torch.no_grad():
        result = FullPass(laid).attend(0, *inputs, call)
    assert not result.requires_grad
    assert kernel() is not None
    with torch.inference_mode():
        assert torch.equal(result, FullPass(laid).attend(0, *inputs, call))
