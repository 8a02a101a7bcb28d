"""How much is decoded at a time, by what was asked for."""

from __future__ import annotations

import pytest
import torch

from s2s_ft.decode.search.requests import Budget
from s2s_ft.decode.wishes import CPU_TOKENS, UNLIMITED, budget_of
from s2s_ft.options.decode import DecodeRuntimeOptions


@pytest.mark.parametrize(
    ("device", "beam_size", "asked", "budget"),
    [
        ("cpu", 1, {}, Budget(128, CPU_TOKENS)),
        ("cpu", 5, {}, Budget(64, CPU_TOKENS)),
        ("cuda", 1, {}, Budget(128)),
        ("cuda", 5, {}, Budget(128)),
        ("cpu", 1, {"batch_size": 500}, Budget(500)),
        ("cpu", 5, {"max_tokens_per_batch": 900}, Budget(UNLIMITED, 900)),
        ("cuda", 5, {"max_tokens_per_batch": 900, "batch_size": 3}, Budget(3, 900)),
    ],
)
def test_only_a_batch_that_nobody_sized_is_sized_by_the_device(
    device: str, beam_size: int, asked: dict[str, int], budget: Budget
) -> None:
    options = DecodeRuntimeOptions(**asked)
    assert budget_of(options, torch.device(device), beam_size=beam_size) == budget
