"""Fast products are taken only where they stay float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from s2s_ft.model import precision
from s2s_ft.model.precision import fast_float32_matmul


@pytest.fixture
def _restored_products() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    precision.has_amx.cache_clear()
    yield
    precision.has_amx.cache_clear()
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("_restored_products")
def test_products_stay_float32() -> None:
    assert fast_float32_matmul() == torch.get_float32_matmul_precision()
    torch.manual_seed(0)
    left, right = torch.randn(32, 512), torch.randn(512, 48)
    exact = left.double() @ right.double()
    assert ((left @ right).double() - exact).abs().max() / exact.abs().max() < 1e-5


@pytest.mark.usefixtures("_restored_products")
def test_inexact_products_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_relative_error_of_products", lambda: 1e-3)
    assert fast_float32_matmul() == "highest"
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.usefixtures("_restored_products")
def test_processors_with_bfloat16_tiles_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "flags: avx512f amx_bf16 amx_tile")
    assert fast_float32_matmul() == "highest"
