"""Golden A6: the original's optimizer steps: grouping, clipping, schedule and accumulation.

Notable: the original divides the loss of each micro-batch by their number, where ours weights every
supervised token of the update alike. `MeanOfMeans` asks the model for the original's weighting, so
that all else is compared as it runs. Its AdamW adds epsilon before the bias correction and decays
after the update; the tolerances allow for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from s2s_ft.layout import Batch
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.train.distributed import World
from s2s_ft.train.feed import MicroBatch
from s2s_ft.train.optimizer import make_optimizer
from s2s_ft.train.precision import choose_precision
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.step import TrainState, train_step
from tests.parity.conftest import GOLDEN, cases, golden_batch, golden_method, read_json
from tests.parity.test_training_pass import original_name

KEY_BIAS = "attention.self.key.bias"
"""Its gradient is 0 but for rounding, and AdamW makes full steps of rounding."""


class MeanOfMeans(nn.Module):
    """Weights the micro-batches of an update alike, whatever they supervise; notes their losses."""

    def __init__(self, model: Seq2SeqModel, batches: list[Batch]) -> None:
        super().__init__()
        self.model = model
        self.share = sum(batch.num_supervised for batch in batches) / len(batches)
        self.losses: list[float] = []

    def forward(self, batch: Batch, label_smoothing: float, scale: Tensor) -> Tensor:
        mean = self.model.loss(batch, label_smoothing) / (batch.num_supervised + 1e-5)
        self.losses.append(mean.item())
        return mean * self.share * scale


def golden_run(
    case: Path, load_golden_model: Callable[..., Seq2SeqModel]
) -> tuple[dict[str, Any], MeanOfMeans, TrainState, list[MicroBatch], Batch]:
    inputs = read_json(case, "inputs")
    settings = inputs["optimizer"]
    used = re.fullmatch(r"(\w+) \(.*variant (\w+)\)", inputs["uses"])
    assert used, f"{case}: it does not say in the known form whose weights and inputs it uses"
    weights, variant = GOLDEN / used[1], used[2]
    source = read_json(weights, "inputs")
    method, tensors = golden_method(source["dataset_options"]), source["variants"][variant]
    rows = np.arange(len(tensors["source_ids"]))
    slices = [slice(first, None, settings["acc"]) for first in range(settings["acc"])]
    parts = [
        MicroBatch(rows[part], number, golden_batch(method, tensors, part))
        for number, part in enumerate(slices)
    ]
    model = load_golden_model(weights)
    wrapped = MeanOfMeans(model, [part.batch for part in parts])
    state = TrainState(
        model=model,
        network=wrapped,
        optimizer=make_optimizer(
            model.named_parameters(),
            weight_decay=settings["wd"],
            epsilon=settings["adam_eps"],
        ),
        precision=choose_precision(
            torch.device("cpu"), fp16=False, bf16=False, fp16_opt_level="O1"
        ),
        schedule=Schedule(
            total_steps=settings["steps"],
            steps_per_epoch=1,
            global_batch_size=len(rows),
            warmup_steps=settings["warm"],
        ),
        peak_learning_rate=settings["lr"],
        max_grad_norm=settings["clip"],
        label_smoothing=inputs["label_smoothing"],
        seed=0,
        world=World(),
    )
    return inputs, wrapped, state, parts, golden_batch(method, tensors)


@pytest.mark.parametrize("case", cases("a6_"), ids=lambda case: case.name)
def test_updates(case: Path, load_golden_model: Callable[..., Seq2SeqModel]) -> None:
    inputs, wrapped, state, parts, whole = golden_run(case, load_golden_model)
    expected = read_json(case, "expected")
    names = [(original_name(name), value) for name, value in wrapped.model.named_parameters()]
    before = {name: value.detach().double().clone() for name, value in names}
    for step in expected["steps"]:
        wrapped.losses.clear()
        report = train_step(state, parts)
        assert report.learning_rate == pytest.approx(step["lr_used"], rel=1e-12)
        assert wrapped.losses == pytest.approx(step["micro_losses"], rel=1e-3)
        assert report.grad_norm == pytest.approx(step["grad_norm_before_clip"], rel=1e-2)
    with torch.no_grad():
        final = wrapped.model.loss(whole, inputs["label_smoothing"]) / whole.num_supervised
    assert final.item() == pytest.approx(expected["final_loss_full_batch"], rel=1e-3)
    after = {name: value.detach().double() for name, value in names}
    updates = {name: float((after[name] - before[name]).norm()) for name in after}
    for name, norm in expected["param_update_l2"].items():
        if not name.endswith(KEY_BIAS):
            assert updates[name] == pytest.approx(norm, rel=0.02, abs=1e-7), name
    for name, norm in expected["param_l2_after"].items():
        if not name.endswith(KEY_BIAS):
            assert float(after[name].norm()) == pytest.approx(norm, rel=1e-3), name
