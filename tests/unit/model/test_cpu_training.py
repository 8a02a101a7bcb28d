"""What is switched on for training on a CPU changes no gradient but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from s2s_ft.layout import Batch
from s2s_ft.methods import PseudoMask
from s2s_ft.model.cpu_training import adapt_to_cpu
from s2s_ft.model.dropout import CpuDropout
from s2s_ft.model.pretrained import load_for_training
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec


def loaded(folder: Path, **options: float | bool) -> tuple[Seq2SeqModel, Batch]:
    torch.manual_seed(0)
    codec = TextCodec.load(str(folder))
    model = load_for_training(
        ModelOptions(model_name_or_path=str(folder), **options),
        codec,
        max_source_length=16,
        max_target_length=8,
    )
    method = PseudoMask(codec.special, 16, 8)
    random = np.random.default_rng(1)
    examples = [
        method.corrupt(random.integers(5, 40, n), random.integers(5, 40, m), random)
        for n, m in ((9, 4), (5, 6), (12, 2))
    ]
    return model.train(), method.lay_out(examples)


def gradients(model: Seq2SeqModel, batch: Batch, *, bf16: bool = False) -> dict[str, Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(batch, 0.1) / batch.num_supervised
    loss.backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize(
    "family", ["bert", "roberta", "electra", "modernbert", "eurobert", "unilm"]
)
def test_gradients_stay_and_are_dense(family: str, tiny_checkpoint: Callable[[str], Path]) -> None:
    model, batch = loaded(tiny_checkpoint(family), dropout=0.0)
    before = gradients(model, batch)
    adapt_to_cpu(model, alone=True)
    after = gradients(model, batch)
    assert before.keys() == after.keys()
    for name, expected in before.items():
        assert not after[name].is_sparse
        torch.testing.assert_close(after[name], expected, atol=2e-6, rtol=1e-4)


def test_bfloat16_stays_near_float32(tiny_checkpoint: Callable[[str], Path]) -> None:
    model, batch = loaded(tiny_checkpoint("bert"), dropout=0.0)
    exact = torch.cat([each.flatten() for each in gradients(model, batch).values()])
    adapt_to_cpu(model, alone=True)
    rounded = gradients(model, batch, bf16=True).values()
    flat = torch.cat([each.flatten() for each in rounded])
    assert float((flat - exact).norm() / exact.norm()) < 0.03


def test_frozen_words_get_no_gradient(tiny_checkpoint: Callable[[str], Path]) -> None:
    model, batch = loaded(tiny_checkpoint("bert"), fix_word_embedding=True)
    adapt_to_cpu(model, alone=True)
    assert not any("word_embeddings" in name for name in gradients(model, batch))


def test_micro_batches_add_up(tiny_checkpoint: Callable[[str], Path]) -> None:
    """A later backward pass adds its rows to the sum of the earlier ones, each of them once."""
    model, batch = loaded(tiny_checkpoint("bert"), dropout=0.0)
    adapt_to_cpu(model, alone=True)
    once = gradients(model, batch)
    gradients(model, batch)  # leaves its gradients in place
    (model(batch, 0.1) / batch.num_supervised).backward()
    for name, parameter in model.named_parameters():
        if name in once:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, 2 * once[name], atol=1e-6, rtol=1e-5)


def test_a_broken_backward_pass_leaves_nothing_to_the_next(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    model, batch = loaded(tiny_checkpoint("bert"), dropout=0.0)
    adapt_to_cpu(model, alone=True)
    expected = gradients(model, batch)

    def out_of_memory(_gradient: Tensor) -> None:
        raise MemoryError

    hook = model.encoder.get_input_embeddings().weight.register_hook(out_of_memory)
    with pytest.raises(MemoryError):
        gradients(model, batch)
    hook.remove()
    after = gradients(model, batch)
    for name, gradient in expected.items():
        assert torch.equal(after[name], gradient)


def test_padding_among_the_words_gets_the_gradient_of_the_head_alone(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    model, batch = loaded(tiny_checkpoint("bert"), dropout=0.0)
    padding = model.encoder.get_input_embeddings().padding_idx
    assert padding == 0
    batch.ids[0, 2] = padding  # a true cell
    before = gradients(model, batch)
    adapt_to_cpu(model, alone=True)
    after = gradients(model, batch)
    for name, expected in before.items():
        torch.testing.assert_close(after[name], expected, atol=2e-6, rtol=1e-4)


def test_the_copy_of_a_dense_gradient_is_saved_only_where_a_process_is_alone(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    for alone in (True, False):
        model, _ = loaded(tiny_checkpoint("bert"))
        adapt_to_cpu(model, alone=alone)
        assert bool(model.encoder.get_input_embeddings()._forward_hooks) is alone


def test_dropout_is_the_fast_one(tiny_checkpoint: Callable[[str], Path]) -> None:
    model, batch = loaded(tiny_checkpoint("bert"), dropout=0.2)
    adapt_to_cpu(model, alone=True)
    kinds = {type(m) for m in model.modules() if isinstance(m, torch.nn.Dropout)}
    assert kinds == {CpuDropout}
    torch.manual_seed(1)
    first = gradients(model, batch)
    torch.manual_seed(1)
    again = gradients(model, batch)
    other = gradients(model, batch)
    name = "encoder.cls.predictions.bias"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
