"""Rows that only round a number up: who gets them, and that they change nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from s2s_ft.corruption import USUAL
from s2s_ft.layout import Batch
from s2s_ft.methods import METHODS, Method, PseudoMask
from s2s_ft.model import full_pass, positions, rows, shapes
from s2s_ft.model.cpu_training import adapt_to_cpu
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.shapes import COARSE, FINE, Steps, rounded_rows, steps_on
from s2s_ft.text import SpecialIds
from tests.conftest import VOCABULARY
from tests.unit.model.test_rows import outcome

CPU = torch.device("cpu")
SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=len(VOCABULARY))
FAMILIES = ("bert", "roberta", "electra", "modernbert", "eurobert", "unilm")


def batch_of(
    method: Method, sizes: tuple[tuple[int, int], ...] = ((4, 3), (9, 2), (1, 5))
) -> Batch:
    random = np.random.default_rng(2)
    pairs = [(random.integers(5, 40, n), random.integers(5, 40, m)) for n, m in sizes]
    return method.lay_out([method.corrupt(*pair, random) for pair in pairs])


def test_only_tiles_make_them_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_amx in (False, True):
        monkeypatch.setattr(shapes, "has_amx", lambda found=has_amx: found)
        assert steps_on(CPU) is FINE
        assert steps_on(torch.device("cuda")) is FINE
        with torch.autocast("cpu", torch.bfloat16):
            assert steps_on(CPU) is (COARSE if has_amx else FINE)
            assert steps_on(torch.device("cuda")) is FINE
        with torch.autocast("cpu", torch.float16):
            assert steps_on(CPU) is FINE


@pytest.mark.parametrize("rows_step", [1, 4, 7])
@pytest.mark.parametrize("read_step", [1, 3, 8])
@pytest.mark.parametrize("sizes", [((4, 3),), ((4, 3), (9, 2)), ((7, 1), (7, 1), (1, 5))])
def test_rows_are_rounded_up(
    sizes: tuple[tuple[int, int], ...], rows_step: int, read_step: int
) -> None:
    batch = batch_of(PseudoMask(SPECIAL, 20, 8), sizes)
    cells, read = rounded_rows(batch, Steps(rows_step, read_step, 1))
    true, supervised = batch.num_tokens, batch.num_supervised
    assert torch.equal(cells[:true], batch.cells)
    assert torch.equal(read[:supervised], batch.read_rows)
    assert len(cells) % rows_step == 0
    assert len(read) % read_step == 0
    assert len(cells) - true <= rows_step
    assert len(read) - supervised < read_step
    assert (read[supervised:] >= true).all()  # none repeats a true one
    assert (read < len(cells)).all()


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes every pass that begins from then on a coarse one."""
    return lambda: monkeypatch.setattr(full_pass, "steps_on", lambda _device: COARSE)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("method_class", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_they_change_nothing(
    tiny_checkpoint: Callable[[str], Path],
    family: str,
    method_class: type[Method],
    threads: int,
    coarse: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(rows, "FEWEST_UNREAD", 1)
    model = load_finetuned(str(tiny_checkpoint(family)))
    adapt_to_cpu(model, alone=True)
    batch = batch_of(method_class(SPECIAL, 20, 8, corruption=USUAL))
    before = {smoothing: outcome(model, batch, smoothing) for smoothing in (0.0, 0.1)}
    logits = model.logits(batch)
    seen = set[int]()
    for module in model.encoder.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(lambda _module, given: seen.add(given[0].shape[1]))
    coarse()
    torch.testing.assert_close(model.logits(batch), logits, atol=1e-5, rtol=1e-5)
    for smoothing, expected in before.items():
        found = outcome(model, batch, smoothing)
        assert len(found) == len(expected) > 10
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    is_coarse = model.relative_position_bias is None  # with one, attention is autograd's
    assert seen == (
        {COARSE.rows, COARSE.read_rows} if is_coarse else {batch.num_tokens, batch.num_supervised}
    )


def test_what_a_teacher_sees_has_labels(
    tiny_checkpoint: Callable[[str], Path], coarse: Callable[[], None]
) -> None:
    model = load_finetuned(str(tiny_checkpoint("bert")))
    batch, shown = batch_of(PseudoMask(SPECIAL, 20, 8)), list[torch.Size]()

    def teacher(loss: Tensor, logits: Tensor, _batch: Batch) -> Tensor:
        shown.append(logits.shape)
        return loss + logits.square().sum()

    model.teacher = teacher
    expected = outcome(model, batch, 0.1)
    coarse()
    for one, other in zip(outcome(model, batch, 0.1), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert shown[0] == shown[1] == (batch.num_supervised, len(VOCABULARY))


def test_with_a_relative_bias_no_row_is_added(
    tiny_checkpoint: Callable[[str], Path], coarse: Callable[[], None]
) -> None:
    """Its attention is autograd's, over the rectangle of the whole batch."""
    coarse()
    model = load_finetuned(str(tiny_checkpoint("bert")))
    batch = batch_of(PseudoMask(SPECIAL, 20, 8))
    plan = full_pass.FullPass(batch, model.relative_position_bias)
    assert len(plan.cells) == COARSE.rows
    bias = positions.RelativePositionBias(8, 16, 4)
    assert torch.equal(full_pass.FullPass(batch, bias).cells, batch.cells)
