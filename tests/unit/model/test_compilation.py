"""Layers that run compiled or are computed twice: the same numbers, fewer activations, few graphs.

The graphs are run by torch's own kernels here; making others takes a C++ compiler and a minute.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from s2s_ft.cli import EnvironmentFault
from s2s_ft.layout import Batch
from s2s_ft.model.adapters import add_adapter
from s2s_ft.model.columns import CacheShape
from s2s_ft.model.compilation import compile_encoder, recompute_activations
from s2s_ft.model.cpu_training import adapt_to_cpu
from s2s_ft.model.parts import encoder_layers
from s2s_ft.model.pretrained import load_for_training
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options.adapter import AdapterOptions
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.conftest import FAMILIES
from tests.unit.model.test_attention import batch_of

BATCHES = [batch_of(*sizes, pseudo=True) for sizes in ((6, 4), (12, 7), (9, 5))]


@pytest.fixture
def load(tiny_checkpoint: Callable[[str], Path]) -> Callable[..., Seq2SeqModel]:
    def loaded(family: str, dropout: float = 0.0, **adapter: Any) -> Seq2SeqModel:
        folder = str(tiny_checkpoint(family))
        options = ModelOptions(model_name_or_path=folder, dropout=dropout)
        codec = TextCodec.load(folder)
        model = load_for_training(options, codec, max_source_length=24, max_target_length=10)
        add_adapter(model, AdapterOptions(**adapter))
        return model

    return loaded


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The graphs that torch.compile makes, run as they are."""
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    yield
    torch._dynamo.reset()


def gradients(model: Seq2SeqModel, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad()
    torch.manual_seed(5)
    loss = model.loss(batch, 0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    found = {
        name: parameter.grad.to_dense().clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return {"loss": loss.detach(), **found}


class TestRecomputing:
    @pytest.mark.parametrize("dropout", [0.0, 0.2])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_gradients_are_the_same_to_the_last_bit(
        self, load: Callable[..., Seq2SeqModel], family: str, dropout: float
    ) -> None:
        model = load(family, dropout)
        plain = [gradients(model, batch) for batch in BATCHES]
        recompute_activations(model)
        for batch, before in zip(BATCHES, plain, strict=True):
            after = gradients(model, batch)
            assert after.keys() == before.keys()
            assert all(torch.equal(after[name], before[name]) for name in before)

    @pytest.mark.parametrize("family", ["bert", "modernbert", "unilm"])
    def test_with_mixed_precision_and_an_adapter(
        self, load: Callable[..., Seq2SeqModel], family: str
    ) -> None:
        model = load(family, 0.2, peft="lora", lora_dropout=0.2)
        adapt_to_cpu(model, alone=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            before = gradients(model, BATCHES[0])
            recompute_activations(model)
            after = gradients(model, BATCHES[0])
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], before[name]) for name in before)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_fewer_activations_are_kept(
        self, load: Callable[..., Seq2SeqModel], family: str
    ) -> None:
        model = load(family)
        before = kept_bytes(model)
        recompute_activations(model)
        assert kept_bytes(model) < 0.8 * before

    def test_other_layers_are_refused(
        self, load: Callable[..., Seq2SeqModel], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = load("bert")
        monkeypatch.setattr(
            "s2s_ft.model.compilation.encoder_layers", lambda _: [("0", torch.nn.Linear(1, 1))]
        )
        with pytest.raises(ValueError, match=r"--gradient_checkpointing: .*'bert' cannot"):
            recompute_activations(model)


def kept_bytes(model: Seq2SeqModel) -> int:
    """Memory of all that the forward pass keeps for the way back, weights left out."""
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model.loss(BATCHES[1], 0.1)
    assert loss.requires_grad
    return sum(sizes.values())


@pytest.mark.usefixtures("quick")
class TestCompiling:
    @pytest.mark.parametrize("family", ["bert", "electra", "unilm", "modernbert", "eurobert"])
    def test_the_same_numbers_from_few_graphs(
        self,
        load: Callable[..., Seq2SeqModel],
        family: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        model = load(family)
        names = list(model.state_dict())
        plain = [gradients(model, batch) for batch in BATCHES]
        adapt_to_cpu(model, alone=True)  # as training does before
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
        compile_encoder(model)
        assert all(parameter.grad is None for parameter in model.parameters())
        made = counters["stats"]["unique_graphs"]
        assert 0 < made <= (4 if torch.__version__ >= "2.11" else 6)
        for batch, before in zip(BATCHES, plain, strict=True):
            after = gradients(model, batch)
            assert after.keys() == before.keys()
            for name, value in before.items():
                torch.testing.assert_close(after[name], value, atol=1e-5, rtol=1e-5)
        model.eval()
        with torch.no_grad():
            cache = model.new_cache(CacheShape(num_beams=1, num_rows=2, num_steps=4))
            model.encode(torch.ones(2, 6, dtype=torch.long), [5, 4], cache, num_unkept=1)
            model.step(torch.ones(2, 1, 2, dtype=torch.long), cache, num_unkept=1)
        assert counters["stats"]["unique_graphs"] == made
        assert not counters["graph_break"]
        assert list(model.state_dict()) == names

    def test_graphs_do_not_depend_on_what_comes_first(
        self, load: Callable[..., Seq2SeqModel]
    ) -> None:
        found = []
        for order in (BATCHES, BATCHES[::-1]):
            torch._dynamo.reset()
            model = load("bert", 0.2)
            compile_encoder(model)
            by_size = {batch.num_tokens: gradients(model, batch) for batch in order}
            found.append(by_size[BATCHES[0].num_tokens])
        assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])

    def test_graphs_are_made_from_as_many_rows_as_a_run_has(
        self, load: Callable[..., Seq2SeqModel], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On a GPU: how sums are divided among its processors is settled by what comes first."""
        sizes = []
        model = load("bert")
        loss = model.loss

        def noted(batch: Batch, smoothing: float) -> Tensor:
            sizes.append(batch.num_tokens)
            return loss(batch, smoothing)

        monkeypatch.setattr(model, "loss", noted)
        monkeypatch.setattr(Batch, "to", lambda batch, _device: batch)
        for device in map(torch.device, ("cpu", "cuda")):
            monkeypatch.setattr(Seq2SeqModel, "device", device)
            for num_rows in (0, 1000, 100_000):
                compile_encoder(model, num_rows=num_rows)
        assert sizes[0] == sizes[1] == sizes[2] == sizes[3] < 200
        assert 900 <= sizes[4] <= 1000
        assert 8000 <= sizes[5] <= 8192

    def test_with_recomputing_and_an_adapter(self, load: Callable[..., Seq2SeqModel]) -> None:
        model = load("bert", peft="lora")
        before = gradients(model, BATCHES[1])
        recompute_activations(model)
        compile_encoder(model)
        after = gradients(model, BATCHES[1])
        assert after.keys() == before.keys()
        for name, value in before.items():
            torch.testing.assert_close(after[name], value, atol=1e-5, rtol=1e-5)

    def test_hooks_still_leave_rows_out(self, load: Callable[..., Seq2SeqModel]) -> None:
        model = load("bert")
        compile_encoder(model)
        rows = []
        _, last = encoder_layers(model.encoder)[-1]
        last.get_submodule("output").register_forward_hook(
            lambda _module, _arguments, output: rows.append(output.shape[:2])
        )
        model.loss(BATCHES[0], 0.1)
        assert rows == [(1, BATCHES[0].num_supervised)]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("no C++ compiler\nat all", r"\(.*no C\+\+ compiler\); install a C\+\+ compiler such"),
        (
            "C++ compile error\n\nOutput:\na.cpp:1:10: fatal error: Python.h: No such file\n1 |",
            r"\(Python.h: No such file\); install Python's headers",
        ),
    ],
)
def test_a_machine_that_cannot_compile_is_told(
    load: Callable[..., Seq2SeqModel], monkeypatch: pytest.MonkeyPatch, error: str, told: str
) -> None:
    def refuse(*_arguments: Any) -> None:
        raise RuntimeError(error)

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=refuse))
    fault = f"--torch_compile: torch cannot compile here {told}"
    with pytest.raises(EnvironmentFault, match=fault) as caught:
        compile_encoder(load("bert"))
    assert "\n" not in str(caught.value)
    torch._dynamo.reset()
