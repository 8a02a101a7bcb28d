"""How fast a checkpoint without a masked-LM head learns, by the initialisation of its fresh head.

    python benchmarks/fresh_head.py [--model FOLDER] [--steps N] [--results FOLDER]

Every start trains on the same examples in the same order with the same corruption; the columns are
the mean negative log-probability of the development set's target tokens (nats, no smoothing), each
read at a `[MASK]` pseudo token behind clean targets, after so many updates.

    random     transformers' own initialisation of the transform, bias 0
    identity   the transform is the identity, bias 0

(Starting the output bias at the log-frequency of the training targets' tokens was tried on top of
the identity: 8.57 instead of 11.52 before the first update, 5.85 instead of 5.77 after 120. It was
left out.)
"""

from __future__ import annotations

import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks.command_line import SAMPLE, parser_of
from benchmarks.rounds import write_report
from benchmarks.train_speed import default_model
from s2s_ft.corruption import CLEAN
from s2s_ft.data.batches import epoch_batches, example_generator
from s2s_ft.data.examples import read_examples
from s2s_ft.layout import Batch, IntArray
from s2s_ft.methods import PseudoMask
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.model.pretrained import load_for_training
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from s2s_ft.train.optimizer import make_optimizer, set_learning_rate

SOURCE, TARGET, BATCH, SMOOTHING = 128, 32, 16, 0.1
LEARNING_RATE, WARM_UP, SEED = 5e-4, 20, 1
STARTS: tuple[Literal["random", "identity"], ...] = ("random", "identity")

Pairs = list[tuple[IntArray, IntArray]]


def curve(task: tuple[str, Literal["random", "identity"], list[int]]) -> list[float]:
    """Development loss of one start after each of the given numbers of updates."""
    model_name, start, marks = task
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    fast_float32_matmul()
    codec = TextCodec.load(model_name)
    options = ModelOptions(model_name_or_path=model_name, dropout=0.0, fresh_head=start)
    model = load_for_training(options, codec, max_source_length=SOURCE, max_target_length=TARGET)
    pairs = read_pairs(codec, "train.jsonl.gz", marks[-1] * BATCH)
    development = development_batches(codec)
    losses = []
    optimizer = make_optimizer(model.named_parameters(), weight_decay=0.01, epsilon=1e-8)
    for done, batch in enumerate(training_batches(codec, pairs)):
        if done in marks:
            losses.append(development_loss(model, development))
        set_learning_rate(optimizer, LEARNING_RATE * min(1.0, (done + 1) / WARM_UP))
        update(model, optimizer, batch)
    return [*losses, development_loss(model, development)]


def read_pairs(codec: TextCodec, name: str, limit: int) -> Pairs:
    """Token ids of the first rows of a file of the sample."""
    rows = list(read_examples(SAMPLE / name, limit=limit))
    sources = codec.encode([row.source for row in rows])
    targets = codec.encode([row.target or "" for row in rows])
    return [
        (np.array(s, np.int64), np.array(t, np.int64))
        for s, t in zip(sources, targets, strict=True)
    ]


def training_batches(codec: TextCodec, pairs: Pairs) -> list[Batch]:
    """One epoch."""
    method = PseudoMask(codec.special, SOURCE, TARGET)
    sources, targets = zip(*pairs, strict=True)
    lengths = method.row_lengths(np.array([*map(len, sources)]), np.array([*map(len, targets)]))
    return [
        method.lay_out(
            [method.corrupt(sources[i], targets[i], example_generator(SEED, 0, i)) for i in rows]
        )
        for rows in (batch.tolist() for batch in epoch_batches(lengths, BATCH, SEED, 0))
    ]


def development_batches(codec: TextCodec) -> list[Batch]:
    """The development set with `[MASK]` in every pseudo slot and clean targets."""
    method = PseudoMask(codec.special, SOURCE, TARGET, CLEAN)
    random = np.random.default_rng(SEED)
    pairs = sorted(read_pairs(codec, "dev.jsonl.gz", 200), key=lambda pair: len(pair[0]))
    examples = [method.corrupt(source, target, random) for source, target in pairs]
    return [method.lay_out(examples[i : i + 25]) for i in range(0, len(examples), 25)]


def development_loss(model: Seq2SeqModel, batches: list[Batch]) -> float:
    """Mean negative log-probability of the target tokens."""
    model.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        total = sum(float(model.loss(batch, 0.0)) for batch in batches)
    return total / sum(batch.num_supervised for batch in batches)


def update(model: Seq2SeqModel, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """One training step, as the toolkit takes it."""
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(batch, SMOOTHING) / batch.num_supervised
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def main() -> None:
    """Train from every start and write the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", default=None)
    parser.add_argument("--steps", type=int, default=120, help="updates, 4 or more")
    arguments = parser.parse_args()
    if arguments.steps < 4:
        parser.error("--steps: the table needs four updates or more")
    marks = [0, *(arguments.steps * part // 4 for part in (1, 2, 3)), arguments.steps]
    name = arguments.model or default_model()
    with get_context("spawn").Pool(2) as pool:
        curves = pool.map(curve, [(name, start, marks) for start in STARTS], chunksize=1)
    rows = [
        {
            "start": start,
            **{f"after {mark}": round(loss, 3) for mark, loss in zip(marks, losses, strict=True)},
        }
        for start, losses in zip(STARTS, curves, strict=True)
    ]
    write_report(
        "fresh_head",
        rows,
        arguments.results,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        method="pseudo_mask",
    )


if __name__ == "__main__":
    main()
