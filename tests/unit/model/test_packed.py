"""Packed linear layers: the very same numbers, in every family; none where a family's code reads
weights by itself.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.decode.session import generate_batch
from s2s_ft.methods import PseudoMask
from s2s_ft.model.int8 import FEW_ROWS, QuantizedLinear, quantize_linear_layers
from s2s_ft.model.packed import (
    PackedLinear,
    knows_products,
    pack_linear_layers,
    replace_linear_layers,
)
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import SpecialIds
from tests.conftest import FAMILIES, VOCABULARY
from tests.unit.decode.test_session import sources

ROOT = Path(__file__).parents[3]
SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=len(VOCABULARY))
SETTINGS = SearchSettings(beam_size=3, max_length=8, eos_id=3, num_return=3)


def linear_layers(model: Seq2SeqModel) -> list[str]:
    return [name for name, module in model.named_modules() if type(module) is nn.Linear]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(48,), (1, 48), (5, 48), (2, 7, 48), (300, 48), (0, 48)])
@torch.inference_mode()
def test_products_are_those_of_the_layer(
    shape: tuple[int, ...], bias: bool, dtype: torch.dtype
) -> None:
    layer = nn.Linear(48, 80, bias=bias, dtype=dtype)
    rows = torch.randn(shape, dtype=dtype)
    found = PackedLinear(layer)(rows)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(found, layer(rows), atol=tolerance, rtol=tolerance)
    assert found.dtype == dtype


@torch.inference_mode()
def test_rows_of_another_type_become_the_weights() -> None:
    layer = nn.Linear(16, 8).bfloat16()
    rows = torch.randn(3, 16)
    torch.testing.assert_close(PackedLinear(layer)(rows), layer(rows.bfloat16()), atol=1e-2, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_finds_the_same(tiny_checkpoint: Callable[[str], Path], family: str) -> None:
    model = load_finetuned(str(tiny_checkpoint(family)))
    method = PseudoMask(SPECIAL, 20, 8)
    rows = sources(method)
    wanted = generate_batch(model, method, rows, SETTINGS)
    assert pack_linear_layers(model) > 10
    assert linear_layers(model) == []
    for one, other in zip(generate_batch(model, method, rows, SETTINGS), wanted, strict=True):
        for found, known in zip(one.hypotheses, other.hypotheses, strict=True):
            assert found.ids == known.ids
            assert found.score == pytest.approx(known.score, abs=1e-5)


@pytest.mark.parametrize("change", [pack_linear_layers, quantize_linear_layers])
def test_a_family_that_reads_weights_keeps_its_layers(
    tiny_checkpoint: Callable[[str], Path], change: Callable[[Seq2SeqModel], int]
) -> None:
    """As MobileBERT does: its head multiplies by the weight of a layer that it never calls."""
    model = load_finetuned(str(tiny_checkpoint("bert")))
    head = model.encoder.get_output_embeddings()

    def forward(rows: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(rows, model.encoder.cls.predictions.decoder.weight, head.bias)

    model.encoder.cls.predictions.forward = forward
    before = linear_layers(model)
    assert change(model) == 0
    assert linear_layers(model) == before
    assert model.cache_dtype is None
    method = PseudoMask(SPECIAL, 20, 8)
    assert len(generate_batch(model, method, sources(method), SETTINGS)) == 5


def test_nothing_is_packed_where_a_product_fails(
    tiny_checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: PackedLinear, _rows: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(PackedLinear, "forward", fail)
    assert not knows_products(torch.float32)
    model = load_finetuned(str(tiny_checkpoint("bert")))
    assert pack_linear_layers(model) == 0
    assert len(linear_layers(model)) > 10
    assert pack_linear_layers(model.double()) == 0


def test_the_old_weights_are_let_go(tiny_checkpoint: Callable[[str], Path]) -> None:
    """Only what embeddings and norms hold is left as parameters; the head's is the embeddings'."""
    model = load_finetuned(str(tiny_checkpoint("bert")))
    names = {name for name, _ in model.named_parameters()}
    replace_linear_layers(model, PackedLinear)
    left = {name for name, _ in model.named_parameters()}
    assert left < names
    assert "encoder.bert.embeddings.word_embeddings.weight" in left
    assert not [name for name in left if ".query." in name or ".dense." in name]


@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_a_row_is_quantised_the_same_in_any_company(bias: bool) -> None:
    """By the kernel for few rows and by that for many, which only add up in another order."""
    layer = nn.Linear(64, 96, bias=bias)
    quantised = QuantizedLinear(layer)
    rows = torch.randn(FEW_ROWS + 1, 64)
    rows[0] = rows[0].abs()  # by itself it has no end of its range
    many = quantised(rows)
    torch.testing.assert_close(many, layer(rows), atol=0.05, rtol=0)
    for size in (1, 7, FEW_ROWS):
        apart = torch.cat([quantised(part.clone()) for part in rows.split(size)])
        torch.testing.assert_close(apart, many, atol=1e-6, rtol=0)
        few = apart[: FEW_ROWS // 7 * 7]
        assert few.equal(torch.cat([quantised(row) for row in rows.split(1)])[: len(few)])


@pytest.mark.parametrize("count", [4, FEW_ROWS + 4])
@torch.inference_mode()
def test_a_row_with_a_large_number_costs_the_others_nothing(count: int) -> None:
    layer = nn.Linear(64, 96)
    quantised = QuantizedLinear(layer)
    rows = torch.randn(count, 64)
    alone = quantised(rows).clone()
    rows[-1, 5] = 1e4
    beside = quantised(rows.clone())
    torch.testing.assert_close(beside[:-1], alone[:-1], atol=0, rtol=0)
    torch.testing.assert_close(beside[-1], layer(rows)[-1], atol=100, rtol=0.02)


@torch.inference_mode()
def test_rows_of_zeros_and_no_rows_at_all() -> None:
    layer = nn.Linear(64, 96)
    quantised = QuantizedLinear(layer)
    torch.testing.assert_close(quantised(torch.zeros(2, 64)), layer(torch.zeros(2, 64)))
    assert quantised(torch.zeros(0, 3, 64)).shape == (0, 3, 96)
    assert QuantizedLinear(nn.Linear(64, 96, bias=False))(torch.zeros(2, 64)).eq(0).all()


@torch.inference_mode()
def test_not_numbers_stay_what_they_are() -> None:
    """So that a search can say whose scores are none."""
    rows = torch.randn(3, 64)
    rows[1, 2] = float("nan")
    found = QuantizedLinear(nn.Linear(64, 96))(rows)
    assert found[1].isnan().all()


WITHOUT_VNNI = {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}

SATURATING = """
import torch
from torch import nn
from s2s_ft.model.int8 import FEW_ROWS, QuantizedLinear, sums_overflow

torch.manual_seed(0)
layer = nn.Linear(256, 64)
nn.init.uniform_(layer.weight, -1.0, 1.0)
for count in (4, 2 * FEW_ROWS):
    rows = torch.rand(count, 256)
    with torch.inference_mode():
        wanted = layer(rows)
        error = (QuantizedLinear(layer)(rows) - wanted).norm() / wanted.norm()
    print(sums_overflow(), float(error))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 instructions")
@pytest.mark.parametrize("limits", [{}, WITHOUT_VNNI], ids=["all instructions", "without VNNI"])
def test_eight_bits_do_not_overflow(limits: dict[str, str]) -> None:
    """Where the processor adds products in sixteen bits, activations do with seven."""
    command = [sys.executable, "-W", "ignore", "-c", SATURATING]
    done = subprocess.run(
        command, env=os.environ | limits, cwd=ROOT, check=True, capture_output=True, text=True
    )
    told = [line.split() for line in done.stdout.splitlines()]
    assert len(told) == 2
    assert all(float(error) < 0.03 for _, error in told), told
    if limits:
        assert all(overflows == "True" for overflows, _ in told)
