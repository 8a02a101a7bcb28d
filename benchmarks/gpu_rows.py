"""The contestants of `train_gpu.py`: the plain way of training, ours, and every step between.

    plain         every row padded to the longest source and target, transformers' own attention
                  over a dense mask, the vocabulary projection at every padded pseudo position, a
                  dense smoothed target, torch's AdamW as it comes
    TECHNIQUES    what the rungs of the ladder add to it, in order; all of them are ours

Notable: all train the same made-up examples in the same batches with the same corruption, pseudo-
masked, under the same autocast, and tell the mean loss of the first batches at equal weights. Ids
are random and so, unless a folder is given, are the weights, since no speed depends on them; the
lengths are drawn to be like those of news.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel

from benchmarks.floor import floor_gigaflop
from benchmarks.rounds import Round
from benchmarks.train_rows import RATE, SMOOTHING, own_state, padded, plain_loss, read_dead_rows
from s2s_ft.data.batches import example_generator
from s2s_ft.layout import Batch, Corrupted
from s2s_ft.methods import PseudoMask
from s2s_ft.model.attention import IMPLEMENTATION
from s2s_ft.model.compilation import compile_encoder
from s2s_ft.model.positions import grow_positions
from s2s_ft.model.seq2seq import Seq2SeqModel, Seq2SeqSettings
from s2s_ft.text import SpecialIds
from s2s_ft.train.feed import AHEAD, MicroBatch, made_ahead
from s2s_ft.train.precision import Precision, choose_precision
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.step import TrainState, take_updates

TECHNIQUES = (
    "true tokens only, head and loss at supervised rows",
    "dead rows of the last layer left out",
    "fused AdamW that clips, no waiting",
    "compiled layers",
)

_from_config: Any = AutoModelForMaskedLM.from_config  # transformers gives it no types
SPREAD = 0.45
"""Standard deviation of the logarithm of the lengths."""


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Attributes:
        source: Longest source, special tokens included.
        target: Longest target, special token included.
        typical: Median lengths of both before they are cut.
        batch: Examples in an update.
        warm_up: Updates before timing starts.
        timed: Updates in a round.
        config: Changes to the config of BERT-base.
        model: Folder of an encoder to take in its place, or None.
        dropout: Of every kind.
    """

    source: int
    target: int
    typical: tuple[int, int]
    batch: int
    warm_up: int = 5
    timed: int = 20
    config: tuple[tuple[str, int], ...] = ()
    model: str | None = None
    dropout: float = 0.1


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def contestant(setting: Setting, *, level: int) -> Round:
    """The way of training that has the first `level` techniques; the plain one has none."""
    torch.manual_seed(0)
    model = Seq2SeqModel(_encoder(setting), Seq2SeqSettings())
    method = _method(setting, model)
    examples = _examples(setting, method)
    precision = choose_precision(device(), fp16=False, bf16=True, fp16_opt_level="O1")
    if level == 0:
        batches = [padded(each, setting.source, setting.target) for each in examples]
        return _plain_round(setting, batches, model, precision)
    batches = [method.lay_out(each) for each in examples]
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)  # as our training does
    model.to(precision.device).train()
    if level < 2:
        read_dead_rows(model)
    if level >= 4:
        compile_encoder(model, precision.autocast, num_rows=setting.batch * setting.source)

    def loss_of(batch: Batch) -> Tensor:
        return model.loss(batch, SMOOTHING) / batch.num_supervised

    if level < 3:
        steps: Any = _SimpleSteps(model, loss_of, precision)
    else:
        steps = _OwnSteps(own_state(model, precision, setting.batch), precision.device)
    return _round(setting, batches, model, steps, loss_of)


def product_peak(size: int) -> Round:
    """Multiply square bfloat16 matrices alone: its "examples" are billions of operations."""
    left, right = (torch.randn(size, size, device=device()).bfloat16() for _ in range(2))
    repeats = 50

    def run() -> dict[str, Any]:
        for _ in range(repeats):
            torch.matmul(left, right)
        _wait()
        return {"examples": repeats * 2 * size**3 / 1e9, "loss": float("nan")}

    run()
    return run


def _encoder(setting: Setting) -> PreTrainedModel:
    """The encoder with our attention, with room for the longest rows."""
    config: Any = AutoConfig.for_model("bert", **dict(setting.config))
    if setting.model is not None:
        config = AutoConfig.from_pretrained(setting.model)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = setting.dropout
    encoder: PreTrainedModel
    if setting.model is None:
        encoder = _from_config(config, attn_implementation=IMPLEMENTATION)
    else:
        encoder = AutoModelForMaskedLM.from_pretrained(
            setting.model, config=config, attn_implementation=IMPLEMENTATION, dtype=torch.float32
        )
    grow_positions(encoder, setting.source + setting.target)
    return encoder


def _method(setting: Setting, model: Seq2SeqModel) -> PseudoMask:
    """Special ids stand at the beginning of the vocabulary; which they are costs nothing."""
    special = SpecialIds(cls=1, sep=2, pad=0, mask=3, vocab_size=model.encoder.config.vocab_size)
    return PseudoMask(special, setting.source, setting.target)


def _examples(setting: Setting, method: PseudoMask) -> list[list[Corrupted]]:
    """The same random examples for everybody; those of a batch are about equally long."""
    rng, vocabulary = np.random.default_rng(0), method.special.vocab_size
    batches = setting.warm_up + setting.timed
    lengths = np.exp(rng.normal(np.log(setting.typical), SPREAD, (batches * setting.batch, 2)))
    lengths = np.maximum(2, lengths).astype(np.int64)
    costs = method.row_lengths(lengths[:, 0], lengths[:, 1])
    groups = np.argsort(costs, kind="stable").reshape(batches, setting.batch)
    return [
        [
            method.corrupt(
                rng.integers(4, vocabulary, lengths[row, 0]),
                rng.integers(4, vocabulary, lengths[row, 1]),
                example_generator(0, 0, int(row)),
            )
            for row in group
        ]
        for group in rng.permutation(groups)
    ]


def _plain_round(
    setting: Setting, batches: list[Batch], model: Seq2SeqModel, precision: Precision
) -> Round:
    """transformers' own model of the same weights."""
    config = copy.deepcopy(model.encoder.config)
    own = _from_config(config, attn_implementation="sdpa")
    own.load_state_dict(model.encoder.state_dict())
    own.to(precision.device).train()

    def loss_of(batch: Batch) -> Tensor:
        return plain_loss(own, batch, at_supervised=False)

    return _round(setting, batches, own, _SimpleSteps(own, loss_of, precision), loss_of)


@dataclass
class _SimpleSteps:
    """Backward, clip, torch's AdamW as it comes."""

    model: nn.Module
    loss_of: Any
    precision: Precision
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=RATE, weight_decay=0.01)

    def take(self, batches: list[Batch]) -> None:
        """One update for each batch."""
        for batch in batches:
            self.optimizer.zero_grad(set_to_none=True)
            with self.precision.autocast():
                loss = self.loss_of(batch.to(self.precision.device))
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()


@dataclass(frozen=True)
class _OwnSteps:
    """This toolkit's own loop."""

    state: TrainState
    device: torch.device

    def take(self, batches: list[Batch]) -> None:
        """One update for each batch."""
        feed: Any = _Feed(batches, self.device)
        for _ in take_updates(self.state, feed, wait_at=lambda _: False, signal=lambda: None):
            pass


@dataclass(frozen=True)
class _Feed:
    """Batches that are laid out already, in the place of `TrainingData`."""

    batches: list[Batch]
    device: torch.device

    def updates(self, _schedule: Schedule, _first: int) -> Iterator[list[MicroBatch]]:
        """Each batch is an update of one pass."""
        made = (
            [MicroBatch(np.arange(batch.num_examples), 0, batch.to(self.device))]
            for batch in self.batches
        )
        return made_ahead(made, AHEAD)


def _round(
    setting: Setting, batches: list[Batch], model: nn.Module, steps: Any, loss_of: Any
) -> Round:
    """Warm up; the round then trains on the same batches each time."""
    first, timed = batches[: setting.warm_up], batches[setting.warm_up :]
    loss = _mean_loss(model, loss_of, first)
    steps.take(first)
    waits = _waits(steps, first)
    config = next(each.config for each in model.modules() if hasattr(each, "config"))
    figures = {
        "examples": sum(batch.num_examples for batch in timed),
        "supervised": sum(batch.num_supervised for batch in timed),
        "loss": loss,
        "cells": sum(batch.ids.numel() for batch in timed),
        "tokens": sum(int(b.source_lengths.sum() + 2 * b.target_lengths.sum()) for b in timed),
        "gigaflop": sum(floor_gigaflop(batch, config, whole=True) for batch in timed),
        "waits": waits,
    }

    def run() -> dict[str, Any]:
        steps.take(timed)
        _wait()
        is_gpu = device().type == "cuda"
        peak = torch.cuda.max_memory_allocated() / 2**20 if is_gpu else float("nan")
        torch.cuda.empty_cache()  # the others need the room
        return {**figures, "gpu_peak_mib": peak}

    return run


def _mean_loss(model: nn.Module, loss_of: Any, batches: list[Batch]) -> float:
    """Without dropout, in float32, before anything is trained."""
    model.eval()
    with torch.no_grad():
        losses = [float(loss_of(batch.to(device()))) for batch in batches]
    model.train()
    return sum(losses) / len(losses)


def _waits(steps: Any, batches: list[Batch]) -> float:
    """How often the host waits for the GPU in an update, as torch itself tells it; nan on a CPU.

    The last report is waited for by all, and what is waited for by an event is not told.
    """
    if device().type != "cuda":
        return float("nan")
    _wait()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        steps.take(batches)
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(each.message) for each in told) / len(batches)


def _wait() -> None:
    """Until the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
