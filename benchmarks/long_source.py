"""What a long source costs: seconds and memory of training and decoding at 512 to 4,096 tokens.

    python benchmarks/long_source.py [--lengths N ...] [--shape small|tiny] [--rounds N]

The encoder is of ModernBERT's kind (every third layer looks everywhere, the others 64 tokens to
each side) with random weights: time and memory do not depend on what it has learned. A row is one
example with that many source tokens, in float32 on one thread.

    train    forward, backward and update of a pseudo-masked example, target of 48 tokens
    decode   beam search, beam 5, 48 tokens
    MiB      peak memory of the process, and beyond what it has before its first example
"""

from __future__ import annotations

import resource
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from benchmarks.command_line import parser_of
from benchmarks.rounds import Round, Row, measure, write_report
from s2s_ft.corruption import USUAL
from s2s_ft.decode.search.beam_search import SearchSettings
from s2s_ft.decode.session import generate_batch
from s2s_ft.methods import PseudoMask
from s2s_ft.model.attention import IMPLEMENTATION
from s2s_ft.model.seq2seq import Seq2SeqModel, Seq2SeqSettings
from s2s_ft.text import SpecialIds

LENGTHS = (512, 1024, 2048, 4096)
TARGET, BEAM = 48, 5
SHAPES = {
    "small": {"hidden_size": 384, "num_hidden_layers": 7, "num_attention_heads": 6},
    "tiny": {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2},
}
SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=8000)

Kind = Literal["train", "decode"]


def contestant(kind: Kind, length: int, shape: str) -> Round:
    """Prepare a model and one example; the round trains on it or decodes it once."""
    torch.manual_seed(1)
    model, method = model_of(shape), PseudoMask(SPECIAL, length, TARGET, USUAL)
    rng = np.random.default_rng(1)
    source = rng.integers(5, SPECIAL.vocab_size, length - 2)
    base = peak_mib()

    def train() -> dict[str, Any]:
        target = rng.integers(5, SPECIAL.vocab_size, TARGET - 1)
        batch = method.lay_out([method.corrupt(source, target, rng)])
        loss = model.loss(batch, 0.1) / batch.num_supervised
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return {"examples": 1, "loss": float(loss.detach()), "base_mib": base}

    def decode() -> dict[str, Any]:
        with torch.inference_mode():
            (result,) = generate_batch(model, method, [method.source(source)], settings)
        return {"examples": 1, "tokens": len(result.hypotheses[0].ids), "base_mib": base}

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    settings = SearchSettings(
        beam_size=BEAM, max_length=TARGET, min_length=TARGET, eos_id=SPECIAL.sep
    )
    work = train if kind == "train" else decode
    work()
    return work


def model_of(shape: str) -> Seq2SeqModel:
    """A random encoder with windows."""
    sizes = SHAPES[shape]
    config = AutoConfig.for_model(
        "modernbert",
        **sizes,
        vocab_size=SPECIAL.vocab_size,
        intermediate_size=2 * sizes["hidden_size"],
        max_position_embeddings=8192,
        local_attention=128,
        global_attn_every_n_layers=3,
        pad_token_id=0,
        cls_token_id=2,
        bos_token_id=2,
        sep_token_id=3,
        eos_token_id=3,
    )
    encoder = AutoModelForMaskedLM.from_config(config, attn_implementation=IMPLEMENTATION)
    return Seq2SeqModel(encoder, Seq2SeqSettings()).eval()


def peak_mib() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def row_of(kind: Kind, length: int, row: Row, first: float | None) -> dict[str, Any]:
    """A row of the report; `first` is the seconds at the shortest source."""
    seconds = 1 / row.rate
    return {
        "task": kind,
        "source tokens": length,
        "seconds": seconds,
        "times the first": seconds / (first or seconds),
        "peak MiB": row.peak_mib,
        "MiB for the example": row.peak_mib - row.figures["base_mib"],
    }


def main() -> None:
    """Measure and write `results/long_source.json`."""
    parser = parser_of(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    kinds: tuple[Kind, ...] = ("train", "decode")
    for kind in kinds:
        first = None
        for length in arguments.lengths:  # one at a time: the long ones need the memory
            prepare = partial(contestant, kind, length, arguments.shape)
            (row,) = measure({f"{kind} {length}": prepare}, arguments.rounds)
            rows.append(row_of(kind, length, row, first))
            first = first or rows[-1]["seconds"]
    write_report(
        "long_source", rows, arguments.results, shape=arguments.shape, beam=BEAM, target=TARGET
    )


if __name__ == "__main__":
    main()
