"""An encoder-decoder of the same encoder, trained with transformers for the same time: what
fine-tuning one encoder as a whole is compared with (bert2bert, Rothe et al. 2020).

    python benchmarks/bert2bert.py TRAIN.jsonl TEST.jsonl OUTPUT --cpu_seconds N [--seeds 1 2 3]

Encoder and decoder both start from the encoder's weights; only cross-attention is new. The
checkpoint has no head: the decoder's is tied to its word embeddings and starts as the identity, as
the toolkit's own does (`--fresh_head random` leaves it as transformers makes it). What the toolkit
gives its own training the peer gets, too: batches of like length, bfloat16, fused AdamW, label
smoothing, vocabulary scores of target tokens alone. The rate that suits it depends on the budget:
after 90 seconds the loss of 200 development rows is 6.52 nats at 1e-4, 6.22 at 3e-4, 6.18 at 6e-4,
and 6.20 with a random head at 3e-4 (batches of 8, no dropout); after 1,800 it is 3.79 at 1e-4 and
4.36 at 4e-4 (batches of 16, dropout 0.1). The budget is processor time of one thread in
updates (tokenising and loading do not count); the rate falls with the share of it that is used.

Each run leaves OUTPUT/bert2bert-<seed>/test.jsonl and run.json, which `seeds.py` reads; one that is
there is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForCausalLM, EncoderDecoderModel, GenerationConfig

from benchmarks.seed_runs import PEER, folder_of
from benchmarks.train_speed import default_model
from s2s_ft.data.batches import epoch_batches
from s2s_ft.model.heads import initialize_fresh_head
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.storage.output_file import write_whole
from s2s_ft.text import TextCodec
from s2s_ft.train.logs import peak_memory_bytes
from s2s_ft.train.optimizer import make_optimizer, set_learning_rate
from scripts.results_row import commit

TARGET, SMOOTHING = 32, 0.1
SEARCH = {"num_beams": 5, "length_penalty": 1.0, "max_new_tokens": TARGET}
DECODE_BATCH = 16
SIZES = ("max_source_seq_length", "batch_size", "dropout")
NUM_DEV = 200


def build(name: str, codec: TextCodec, *, fresh_head: str, dropout: float) -> Any:
    """The EncoderDecoderModel; a head that the checkpoint holds is kept."""
    both = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        name, is_decoder=True, add_cross_attention=True, output_loading_info=True, **both
    )
    decoder, told = loaded
    if fresh_head == "identity":
        initialize_fresh_head(decoder, told["missing_keys"])
    encoder = AutoModel.from_pretrained(name, add_pooling_layer=False, **both)
    model: Any = EncoderDecoderModel(encoder=encoder, decoder=decoder)
    # On a CPU attention written out is faster than torch's fused one, backwards above all.
    model.set_attn_implementation("eager")
    model.config.decoder_start_token_id = codec.special.cls
    model.config.pad_token_id = codec.special.pad
    return model


def read(
    file: str, codec: TextCodec, longest: int, limit: int | None = None
) -> tuple[list[dict[str, Any]], ...]:
    """Rows of a file, and what the model sees of each: `source` and `target` ids, cut."""
    with open(file, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:limit]
    special = codec.special
    sources = codec.encode([row["src"] for row in rows])
    targets = codec.encode([row["tgt"] for row in rows])
    seen = [
        {
            "source": [special.cls, *source[: longest - 2], special.sep],
            "target": [*target[: TARGET - 1], special.sep],
        }
        for source, target in zip(sources, targets, strict=True)
    ]
    return rows, seen


def padded(rows: Sequence[Sequence[int]], pad: int) -> Tensor:
    """[B, L] int64: rows filled up to the longest."""
    ids = torch.full((len(rows), max(map(len, rows))), pad)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids


def loss_of(
    model: Any,
    examples: Sequence[dict[str, list[int]]],
    codec: TextCodec,
    smoothing: float,
) -> Tensor:
    """Cross-entropy of the target tokens, summed.

    Vocabulary scores are made of true target positions only: they are most of the work of so short
    a target.
    """
    pad = codec.special.pad
    source = padded([each["source"] for each in examples], pad)
    labels = padded([each["target"] for each in examples], pad)
    start = torch.full((len(labels), 1), codec.special.cls)
    inputs = torch.cat([start, labels[:, :-1]], dim=1)
    mask = (source != pad).long()
    memory = model.encoder(input_ids=source, attention_mask=mask).last_hidden_state
    hidden = model.decoder.bert(
        input_ids=inputs,
        attention_mask=(labels != pad).long(),
        encoder_hidden_states=memory,
        encoder_attention_mask=mask,
        use_cache=False,
    ).last_hidden_state
    true = labels != pad
    scores = model.decoder.cls(hidden[true])
    return F.cross_entropy(scores.float(), labels[true], label_smoothing=smoothing, reduction="sum")


def batches(
    seen: Sequence[dict[str, list[int]]], size: int, seed: int
) -> Iterator[list[dict[str, Any]]]:
    """Batches of like length, epoch after epoch."""
    lengths = np.array([len(each["source"]) + len(each["target"]) for each in seen])
    epoch = 0
    while True:
        for rows in epoch_batches(lengths, size, seed, epoch):
            yield [seen[row] for row in rows]
        epoch += 1


def rate_factor(update: int, share: float, *, warm_up: int, warm_share: float) -> float:
    """What the peak rate is multiplied by: up over the first updates, then down with the budget.

    Args:
        update: Number of the update, from 0.
        share: Of the budget that is used, 0 to 1.
        warm_up: Updates until the peak.
        warm_share: The share that was used when the peak was reached.
    """
    if update < warm_up:
        return update / warm_up
    return max(0.0, (1 - share) / (1 - warm_share))


def train(
    model: Any,
    seen: Sequence[dict[str, list[int]]],
    codec: TextCodec,
    given: argparse.Namespace,
    seed: int,
) -> dict[str, Any]:
    """Train until the budget is used; returns what it took."""
    optimizer = make_optimizer(model.named_parameters(), weight_decay=0.01, epsilon=1e-8)
    model.train()
    warm_share, losses, num_examples = 0.0, [], 0
    begin = time.process_time()
    for update, examples in enumerate(batches(seen, given.batch_size, seed)):
        used = time.process_time() - begin
        share = used / given.cpu_seconds
        if share >= 1:
            break
        if update <= given.num_warmup_steps:
            warm_share = share
        factor = rate_factor(update, share, warm_up=given.num_warmup_steps, warm_share=warm_share)
        set_learning_rate(optimizer, given.learning_rate * factor)
        tokens = sum(len(each["target"]) for each in examples)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, examples, codec, SMOOTHING) / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        num_examples += len(examples)
        if len(losses) % 50 == 0:
            print(f"{len(losses)} updates, {used:.0f} s: {np.mean(losses[-50:]):.3f}", flush=True)
    return {
        "seconds": used,
        "updates": len(losses),
        "examples": num_examples,
        "peak_memory_bytes": peak_memory_bytes(torch.device("cpu")),
        "loss": float(np.mean(losses[-50:])),
    }


def held_out_loss(model: Any, seen: Sequence[dict[str, list[int]]], codec: TextCodec) -> float:
    """Mean negative log-likelihood of the target tokens, nats."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        total = sum(
            float(loss_of(model, seen[start : start + DECODE_BATCH], codec, 0.0))
            for start in range(0, len(seen), DECODE_BATCH)
        )
    return total / sum(len(each["target"]) for each in seen)


def generate(model: Any, seen: Sequence[dict[str, list[int]]], codec: TextCodec) -> list[str]:
    """The best hypothesis of each row, in order."""
    special = codec.special
    search = GenerationConfig(
        **SEARCH,
        pad_token_id=special.pad,
        eos_token_id=special.sep,
        decoder_start_token_id=special.cls,
    )
    texts = [""] * len(seen)
    order = sorted(range(len(seen)), key=lambda row: len(seen[row]["source"]))
    for start in range(0, len(order), DECODE_BATCH):
        rows = order[start : start + DECODE_BATCH]
        source = padded([seen[row]["source"] for row in rows], special.pad)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = model.generate(
                source, attention_mask=(source != special.pad).long(), generation_config=search
            )
        for row, ids in zip(rows, found.tolist(), strict=True):
            texts[row] = codec.decode(ids[1:])  # without the start
    return texts


def make(given: argparse.Namespace, seed: int) -> None:
    """One run: train, decode, write."""
    folder = folder_of(Path(given.output), PEER, seed)
    if (folder / "test.jsonl").exists():
        return
    name = given.model or default_model()
    codec = TextCodec.load(name)
    torch.manual_seed(seed)
    model = build(name, codec, fresh_head=given.fresh_head, dropout=given.dropout)
    longest = given.max_source_seq_length
    rows, test = read(given.test, codec, longest, given.num_test_examples)
    figures = train(model, read(given.train, codec, longest)[1], codec, given, seed)
    model.eval()
    if given.dev:
        dev = read(given.dev, codec, longest, NUM_DEV)[1]
        figures["dev_loss"] = held_out_loss(model, dev, codec)
    settings = ("cpu_seconds", "learning_rate", "num_warmup_steps", "fresh_head", *SIZES)
    figures |= {key: getattr(given, key) for key in settings} | {"search": SEARCH}
    figures["parameters"] = sum(each.numel() for each in model.parameters())
    texts = generate(model, test, codec)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "commit", [commit() + "\n"])
    write_whole(folder / "run.json", [json.dumps(figures, indent=1) + "\n"])
    lines = [
        json.dumps({"index": n, "id": row.get("id"), "hypotheses": [{"text": text}]})
        for n, (row, text) in enumerate(zip(rows, texts, strict=True))
    ]
    write_whole(folder / "test.jsonl", (line + "\n" for line in lines))
    print(json.dumps(figures))


def main() -> None:
    """Read the command line and make the runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("train", "test", "output"):
        parser.add_argument(name)
    parser.add_argument("--cpu_seconds", type=float, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--learning_rate", type=float, default=4e-4)
    parser.add_argument("--num_warmup_steps", type=int, default=100)
    parser.add_argument("--max_source_seq_length", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--fresh_head", choices=("identity", "random"), default="identity")
    parser.add_argument("--num_test_examples", type=int, default=None, help="for a trial")
    parser.add_argument("--dev", default=None, help="file whose loss is told, to choose a rate by")
    parser.add_argument("--model", default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    fast_float32_matmul()
    for seed in given.seeds:
        make(given, seed)


if __name__ == "__main__":
    main()
