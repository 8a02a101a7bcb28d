"""Numbers that are none, wherever they stand."""

from __future__ import annotations

import pytest
import torch

from s2s_ft.model.finite import has_finite_ends


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_bad_number_is_found_everywhere(bad: float, dtype: torch.dtype) -> None:
    numbers = torch.randn(3, 7).to(dtype)
    assert has_finite_ends(numbers)
    for place in range(numbers.numel()):
        spoiled = numbers.clone()
        spoiled.view(-1)[place] = bad
        assert not has_finite_ends(spoiled)


def test_the_largest_numbers_are_finite_and_so_is_nothing() -> None:
    largest = torch.finfo(torch.float32).max
    assert has_finite_ends(torch.tensor([largest, -largest]))
    assert has_finite_ends(torch.empty(0, 4))
    assert has_finite_ends(torch.nn.Parameter(torch.zeros(2))).requires_grad is False
