"""Linear layers of CPU training: results and gradients are torch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from s2s_ft.model import cpu_linear
from s2s_ft.model.cpu_linear import CpuLinear, use_cpu_linear
from s2s_ft.model.pretrained import load_finetuned


@pytest.fixture(autouse=True)
def fast_products() -> Iterator[None]:
    """Float32 products by oneDNN, as training sets them where they are exact."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def pair(*, bias: bool = True, dtype: torch.dtype = torch.float32) -> tuple[nn.Linear, nn.Linear]:
    """Torch's layer, and ours with the same weights."""
    torch.manual_seed(3)
    own = nn.Linear(24, 40, bias=bias, dtype=dtype)
    ours = nn.Linear(24, 40, bias=bias, dtype=dtype)
    ours.load_state_dict(own.state_dict())
    assert use_cpu_linear(ours) == 1
    assert isinstance(ours, CpuLinear)
    return own, ours


def outcome(
    layer: nn.Linear, rows: Tensor, context: AbstractContextManager[object]
) -> list[Tensor]:
    """Result and gradients, those of the rows first."""
    rows = rows.clone().requires_grad_()
    with context:
        result = layer(rows)
    pull = torch.randn(result.shape, generator=torch.Generator().manual_seed(4))
    result.backward(pull.to(result.dtype))
    gradients = [rows.grad, *(each.grad for each in layer.parameters())]
    assert all(gradient is not None for gradient in gradients)
    return [result.detach(), *(gradient for gradient in gradients if gradient is not None)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The types in which the written-out way was taken."""
    taken: list[torch.dtype] = []
    apply = cpu_linear._Linear.apply

    def noted(*arguments: object) -> object:
        assert isinstance(arguments[3], torch.dtype)
        taken.append(arguments[3])
        return apply(*arguments)

    monkeypatch.setattr(cpu_linear._Linear, "apply", noted)
    return taken


@pytest.mark.parametrize("shape", [(5, 24), (1, 7, 24), (2, 3, 24), (24,), (0, 24)])
def test_results_and_gradients_are_those_of_torch(
    shape: tuple[int, ...], calls: list[torch.dtype]
) -> None:
    own, ours = pair()
    rows = torch.randn(shape)
    for one, other in zip(
        outcome(ours, rows, nullcontext()), outcome(own, rows, nullcontext()), strict=True
    ):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert calls == [torch.float32]


def test_autocast_decides_the_type(calls: list[torch.dtype]) -> None:
    own, ours = pair()
    rows = torch.randn(6, 24)
    found, wanted = (
        outcome(each, rows, torch.autocast("cpu", torch.bfloat16)) for each in (ours, own)
    )
    assert found[0].dtype == wanted[0].dtype == torch.bfloat16
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, atol=0.05, rtol=0.02)
    assert calls == [torch.bfloat16]


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_what_is_frozen_gets_no_gradient(frozen: str) -> None:
    _, ours = pair()
    getattr(ours, frozen).requires_grad_(False)
    ours(torch.randn(3, 24)).sum().backward()
    for name, parameter in ours.named_parameters():
        assert (parameter.grad is None) == (name == frozen)


def test_torchs_own_way_elsewhere(calls: list[torch.dtype]) -> None:
    """Without a bias, in float64, and where float32 products are not oneDNN's."""
    for bias, dtype in ((False, torch.float32), (True, torch.float64)):
        own, ours = pair(bias=bias, dtype=dtype)
        rows = torch.randn(3, 24, dtype=dtype)
        assert torch.equal(ours(rows), own(rows))
    torch.set_float32_matmul_precision("highest")
    own, ours = pair()
    rows = torch.randn(3, 24)
    assert torch.equal(ours(rows), own(rows))
    assert calls == []


def test_names_ties_and_hooks_stay(tiny_checkpoint: Callable[[str], Path]) -> None:
    model = load_finetuned(str(tiny_checkpoint("bert")))
    before = {name: parameter for name, parameter in model.named_parameters()}
    seen: list[nn.Module] = []
    head = model.encoder.get_output_embeddings()
    head.register_forward_hook(lambda module, _rows, _result: seen.append(module))
    assert use_cpu_linear(model.encoder) > 10
    after = dict(model.named_parameters())
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)
    head(torch.randn(2, 32))
    assert seen == [head]


@pytest.mark.parametrize(("inputs", "outputs"), [(24, 24), (64, 24), (24, 64), (24, 1000)])
@pytest.mark.parametrize("rows", [5, 12])
@pytest.mark.parametrize("tiles", [False, True])
def test_gradients_of_weights_of_any_shape(
    inputs: int, outputs: int, rows: int, monkeypatch: pytest.MonkeyPatch, *, tiles: bool
) -> None:
    monkeypatch.setattr(cpu_linear, "has_amx", lambda: tiles)
    monkeypatch.setattr(cpu_linear, "MANY_ROWS", 12)
    torch.manual_seed(0)
    upstream, read = torch.randn(rows, outputs).bfloat16(), torch.randn(rows, inputs).bfloat16()
    found = cpu_linear.weight_gradient(upstream, read)
    assert found.is_contiguous()
    torch.testing.assert_close(
        found.float(), upstream.float().t() @ read.float(), atol=0.05, rtol=0.01
    )
