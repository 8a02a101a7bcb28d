"""The contestants of `train_speed.py`: the plain way of training, ours, and every step between.

    plain              every row padded to 192 source and 32 target tokens, transformers' own
                       attention over a dense mask of the whole rectangle, the vocabulary
                       projection at every padded pseudo position, a dense smoothed target,
                       AdamW without fusion, torch's default float32 products
    TECHNIQUES         what the rungs of the ladder add to it, in order; all of them are ours

Notable: every contestant trains the same examples in the same batches with the same corruption,
pseudo-masked, and tells the mean loss of the first batches at equal weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM

from benchmarks.floor import floor_gigaflop
from benchmarks.rounds import Round
from s2s_ft.data.batches import epoch_batches, example_generator
from s2s_ft.data.examples import read_examples
from s2s_ft.layout import Batch, Corrupted, lay_out
from s2s_ft.methods import PseudoMask
from s2s_ft.model import full_pass, rectangles, rows, seq2seq
from s2s_ft.model.cpu_training import adapt_to_cpu
from s2s_ft.model.full_pass import FullPass
from s2s_ft.model.large_pages import use_large_pages
from s2s_ft.model.loss import smoothed_loss
from s2s_ft.model.memory import keep_freed_memory
from s2s_ft.model.native.trial import is_available
from s2s_ft.model.pattern import MASKED, visible
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.model.pretrained import load_for_training
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.model.shapes import Steps
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from s2s_ft.train.distributed import World
from s2s_ft.train.feed import MicroBatch
from s2s_ft.train.optimizer import make_optimizer
from s2s_ft.train.precision import Precision, choose_precision
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.step import TrainState, train_step

SOURCE, TARGET, BATCH, SMOOTHING, RATE = 192, 32, 16, 0.1, 5e-5
WARM_UP, TIMED = 3, 6
"""Batches before timing starts, and batches in a round."""

TECHNIQUES = (
    "padded to the batch's own maxima",
    "head and loss at supervised rows only, closed form",
    "true tokens only, source rows over source keys",
    "attention's backward written out",
    "attention padded to the next sixteen columns",
    "dead rows of the last layer left out",
    "float32 products by oneDNN",
    "fused AdamW that clips",
    "freed memory kept",
    "memory in large pages",
    "CPU dropout, bias in the product, word gradient in place",
    "attention as one compiled kernel",
)


@dataclass(frozen=True)
class Material:
    """What a contestant starts from: the model before training, and its examples in batches."""

    model: Seq2SeqModel
    method: PseudoMask
    examples: list[list[Corrupted]]

    @classmethod
    def of(cls, model_name: str, data: str, dropout: float) -> Material:
        """Load, tokenise, corrupt; enough batches for a round."""
        codec = TextCodec.load(model_name)
        options = ModelOptions(model_name_or_path=model_name, dropout=dropout)
        torch.manual_seed(0)
        model = load_for_training(
            options, codec, max_source_length=SOURCE, max_target_length=TARGET
        )
        method = PseudoMask(codec.special, SOURCE, TARGET)
        pairs = list(read_examples(Path(data), limit=4096))
        sources = [np.array(ids) for ids in codec.encode([pair.source for pair in pairs])]
        targets = [np.array(ids) for ids in codec.encode([pair.target or "" for pair in pairs])]
        costs = method.row_lengths(np.array([*map(len, sources)]), np.array([*map(len, targets)]))
        batches = epoch_batches(costs, BATCH, seed=0, epoch=0)[: WARM_UP + TIMED]
        examples = [
            [method.corrupt(sources[i], targets[i], example_generator(0, 0, int(i))) for i in batch]
            for batch in batches
        ]
        return cls(model, method, examples)


def contestant(
    model_name: str, data: str, *, level: int, bf16: bool = False, dropout: float = 0.0
) -> Round:
    """The way of training that has the first `level` techniques; the plain one has none."""
    if level >= 9:
        keep_freed_memory()
    if level >= 10:
        use_large_pages()
    if level >= 7:
        fast_float32_matmul()
    material = Material.of(model_name, data, dropout)
    if level < 3:
        return _plain(material, level)
    model = material.model
    use_kernel(wanted=level >= 12)
    if level < 4:
        patch.object(seq2seq, "FullPass", _ByAutograd).start()  # for the rest of this process
    if level < 5:
        patch.object(rectangles, "_alike", _all_together).start()
    if level < 6:
        read_dead_rows(model)
    if level >= 11:
        adapt_to_cpu(model, alone=True)
    batches = [material.method.lay_out(batch) for batch in material.examples]
    if level < 8:
        return _simple_round(
            batches, lambda batch: model.loss(batch, SMOOTHING) / batch.num_supervised, model
        )
    return _own_round(batches, model, bf16=bf16)


def use_kernel(*, wanted: bool) -> None:
    """Have attention compiled, or not, for the rest of this process."""
    if not wanted:
        patch.object(full_pass, "takes", lambda _dtype: False).start()
    elif not is_available():
        raise SystemExit("attention's kernel cannot be compiled here: a C compiler is needed")


class _ByAutograd(FullPass):
    """Attention without the written-out backward pass."""

    _attend_written_out = FullPass._attend_by_autograd


def _all_together(batch: Batch, _steps: Steps) -> Iterator[tuple[Tensor, int, int]]:
    """One rectangle for the whole batch, as wide as its longest rows."""
    yield torch.arange(batch.num_examples), batch.source_size, batch.target_size


def read_dead_rows(model: Seq2SeqModel) -> None:
    """Have the last layer compute every row; the ones that are read are picked behind it."""
    for module in model.encoder.modules():
        module._forward_pre_hooks.clear()
        module._forward_pre_hooks_with_kwargs.clear()
    model.encoder.base_model.register_forward_hook(rows._pick_behind_body, with_kwargs=True)
    model._narrowed_layer = None


def _own_round(batches: list[Batch], model: Seq2SeqModel, *, bf16: bool) -> Round:
    """This toolkit's own update."""
    precision = choose_precision(torch.device("cpu"), fp16=False, bf16=bf16, fp16_opt_level="O1")
    state = own_state(model, precision, BATCH)

    def loss_of(batch: Batch) -> Tensor:
        with precision.autocast():
            return model.loss(batch, SMOOTHING) / batch.num_supervised

    def step(batch: Batch) -> None:
        train_step(state, [MicroBatch(np.arange(batch.num_examples), 0, batch)])

    return _round(batches, loss_of, model, step)


def own_state(model: Seq2SeqModel, precision: Precision, batch_size: int) -> TrainState:
    """A run of this toolkit before its first update."""
    return TrainState(
        model=model,
        network=model,
        optimizer=make_optimizer(model.named_parameters(), weight_decay=0.01, epsilon=1e-8),
        precision=precision,
        schedule=Schedule(
            total_steps=10**6, steps_per_epoch=1500, global_batch_size=batch_size, warmup_steps=0
        ),
        peak_learning_rate=RATE,
        max_grad_norm=1.0,
        label_smoothing=SMOOTHING,
        seed=0,
        world=World(),
    )


def _plain(material: Material, level: int) -> Round:
    """transformers' own model over a dense mask; padded to the maxima or to the batch's own."""
    encoder = material.model.encoder
    own = AutoModelForMaskedLM.from_config(encoder.config, attn_implementation="sdpa")
    own.load_state_dict(encoder.state_dict())

    def loss_of(batch: Batch) -> Tensor:
        return plain_loss(own, batch, at_supervised=level >= 2)

    batches = [
        padded(each, SOURCE, TARGET) if level < 1 else material.method.lay_out(each)
        for each in material.examples
    ]
    return _simple_round(batches, loss_of, own)


def plain_loss(own: Any, batch: Batch, *, at_supervised: bool) -> Tensor:
    """Mean loss over the whole rectangle, the head at every pseudo position or where it counts.

    Args:
        own: transformers' model of the BERT family.
        batch: On its device.
        at_supervised: Whether head and loss see the supervised rows alone.
    """
    mask = torch.where(visible(batch), 0.0, MASKED)[:, None]
    column = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    types = (column >= batch.source_size).long().expand_as(batch.ids)
    hidden = own.base_model(
        batch.ids, attention_mask=mask, position_ids=batch.positions, token_type_ids=types
    ).last_hidden_state
    if at_supervised:
        logits = own.cls(hidden.flatten(0, 1)[batch.supervised])
        return smoothed_loss(logits, batch.labels, SMOOTHING) / batch.num_supervised
    return _dense_loss(own.cls(hidden[:, -batch.target_size :]), batch)


def _dense_loss(logits: Tensor, batch: Batch) -> Tensor:
    """The divergence from a target that is as wide as the vocabulary, at every pseudo position."""
    logits = logits.float()
    labels = torch.zeros(batch.ids.numel(), dtype=torch.long, device=logits.device)
    labels[batch.supervised] = batch.labels
    labels = labels.view_as(batch.ids)[:, -batch.target_size :]
    target = torch.full_like(logits, SMOOTHING / (logits.shape[-1] - 2))
    target[..., 0] = 0.0
    target.scatter_(-1, labels.unsqueeze(-1), 1.0 - SMOOTHING)
    target.masked_fill_((labels == 0).unsqueeze(-1), 0.0)
    return F.kl_div(logits.log_softmax(-1), target, reduction="sum") / batch.num_supervised


def padded(examples: list[Corrupted], source: int, target: int) -> Batch:
    """The batch of these examples in blocks of the maximum lengths."""
    filler = Corrupted(*(np.full(size, 5) for size in (source, target, target, target, target)))
    whole = lay_out([*examples, replace(filler, read=np.arange(target))], 0, 2)
    count = len(examples)
    real = whole.supervised < count * whole.ids.shape[1]
    return replace(
        whole,
        ids=whole.ids[:count],
        positions=whole.positions[:count],
        source_lengths=whole.source_lengths[:count],
        target_lengths=whole.target_lengths[:count],
        supervised=whole.supervised[real],
        labels=whole.labels[real],
    )


def _simple_round(batches: list[Batch], loss_of: Any, model: nn.Module) -> Round:
    """Backward, clip, AdamW without fusion."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RATE, weight_decay=0.01, foreach=False, fused=False
    )

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return _round(batches, loss_of, model, step)


def _round(batches: list[Batch], loss_of: Any, model: nn.Module, step: Any) -> Round:
    """Warm up; the round then trains on the same batches each time."""
    model.train()
    with torch.no_grad():
        first = sum(float(loss_of(batch)) for batch in batches[:WARM_UP]) / WARM_UP
    for batch in batches[:WARM_UP]:
        step(batch)
    timed = batches[WARM_UP:]
    config = next(m.config for m in model.modules() if hasattr(m, "config"))

    def run() -> dict[str, Any]:
        for batch in timed:
            step(batch)
        tokens = sum(int(b.source_lengths.sum() + 2 * b.target_lengths.sum()) for b in timed)
        return {
            "examples": sum(batch.num_examples for batch in timed),
            "loss": first,
            "cells": sum(batch.ids.numel() for batch in timed),
            "tokens": tokens,
            "floor_gigaflop": sum(floor_gigaflop(batch, config) for batch in timed),
        }

    return run
