"""How many examples go through the model at once: as the flag says, or as many as fit.

Notable: `--auto_batch_size` tries with the longest examples of the data, on every rank by itself,
and the ranks agree on the least. What was found is kept in `train_options.json`: a run that goes on
with the same model on the same kind of device cuts its updates as before, and so stays exact.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import TrainOptions, as_dict
from s2s_ft.train.checkpoint import checkpoint_folders
from s2s_ft.train.distributed import World
from s2s_ft.train.feed import TrainingData
from s2s_ft.train.lines import OPTIONS
from s2s_ft.train.memory import (
    USABLE_SHARE,
    available_memory,
    explained,
    largest_batch_size,
    optimizer_bytes,
)
from s2s_ft.train.overwriting import begins_anew
from s2s_ft.train.precision import Precision
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.session import device_name

logger = logging.getLogger(__name__)

_GROUPS = ("model", "adapter", "runtime")
"""Options that decide how much memory a pass takes, beside those that no run may change."""


def micro_batch_size(
    options: TrainOptions,
    model: Seq2SeqModel,
    data: TrainingData,
    precision: Precision,
    schedule: Schedule,
    world: World,
) -> int:
    """Most examples of a forward pass.

    Args:
        options: Everything the command line says.
        model: The bare model, on its device; `--auto_batch_size` sends examples through it.
        data: Where the examples come from.
        precision: The arithmetic of training.
        schedule: Says how many examples an update has; a rank needs no more than its share.
        world: The ranks; all of them come here.

    Raises:
        EnvironmentFault: Not even one example fits.
    """
    first = options.optimization.per_gpu_train_batch_size
    if not options.runtime.auto_batch_size:
        return first
    known = world.from_main(_found_before(options, data, world) if world.is_main else None)
    if known is not None:
        logger.info("--auto_batch_size: %d examples in a forward pass, as found before", known)
        return known
    costs = data.method.row_lengths(data.store.source_lengths, data.store.target_lengths)
    longest = np.argsort(-costs, kind="stable")

    def try_pass(count: int) -> None:
        alone = replace(data, micro_batch_size=count, rank=0, size=1)
        part = alone.micro_batches(longest[:count], 0)[0]
        with precision.autocast():
            loss = model(part.batch, options.optimization.label_smoothing)
        loss.backward()

    most = min(len(data.store), -(-schedule.global_batch_size // world.size))
    with explained(options, 1):
        size = largest_batch_size(
            try_pass, first, most, device=data.device, reserved=_reserved(model)
        )
    model.zero_grad(set_to_none=True)
    sizes = world.gather(size)
    return world.from_main(size if sizes is None else min(sizes))


def batches_of(data: TrainingData) -> dict[str, Any]:
    """What `train_options.json` keeps of the size of batches."""
    return {
        "ranks": data.size,
        "micro_batch_size": data.micro_batch_size,
        "device": device_name(data.device),
    }


def _found_before(options: TrainOptions, data: TrainingData, world: World) -> int | None:
    """The size that an earlier start of this run found, if it still holds.

    Only a run that has a checkpoint goes on; one that begins anew may have other rows and lengths.
    """
    output_dir = Path(options.checkpoint.output_dir)
    is_new = begins_anew(options.checkpoint, is_restart=world.is_restart)
    try:
        if is_new or not checkpoint_folders(output_dir):
            return None
        text = (output_dir / OPTIONS).read_text(encoding="utf-8")
        saved = json.loads(text)
        size: int = saved["batches"]["micro_batch_size"]
        before = {**saved["batches"], **{group: saved[group] for group in _GROUPS}}
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the run has not begun
    now = {**batches_of(data), **{group: as_dict(options)[group] for group in _GROUPS}}
    for content in (before, now):
        content["micro_batch_size"] = size
        content["runtime"]["local_rank"] = 0
    return size if before == now else None


def _reserved(model: Seq2SeqModel) -> int:
    """Bytes that a pass must leave to the optimizer and, on a CPU, to the machine's other ranks."""
    if model.device.type == "cuda":
        return optimizer_bytes(model)
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    others = USABLE_SHARE * available_memory() * (ranks - 1) / ranks
    return optimizer_bytes(model) + int(others)
