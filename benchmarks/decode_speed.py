"""Decoding speed on one CPU thread, beam 5, against transformers' `generate` on encoder-decoders of
equal size.

    python benchmarks/decode_speed.py [--model FOLDER] [--data FILE] [--rounds N]

The peers are BART models of the same width, heads and vocabulary: one as deep as the encoder on
either side (equal depth), one with half the layers a side (about equal parameters). Weights are
random on both sides and every output is forced to the same length, so that all do the same number
of steps over the same sources; that ours is right is shown in the same run: its scores are
recomputed by one full pass over source and output (column `score error`).
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from transformers import BartConfig, BartForConditionalGeneration, GenerationConfig

from benchmarks.rounds import Round, measure, ratio, write_report
from benchmarks.train_speed import default_model
from s2s_ft.data.examples import read_examples
from s2s_ft.decode.beam_search import SearchResult, SearchSettings
from s2s_ft.decode.session import generate
from s2s_ft.layout import IntArray
from s2s_ft.methods import Corruption, PseudoMask
from s2s_ft.model.memory import keep_freed_memory
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import TextCodec

SOURCE, STEPS, BEAMS, BATCH, EXAMPLES = 192, 20, 5, 16, 64


def sources_of(model_name: str, data: str) -> tuple[TextCodec, list[IntArray]]:
    """The first sources of the file, longest first, framed by their special tokens."""
    codec = TextCodec.load(model_name)
    rows = [row.source for row in read_examples(Path(data), limit=EXAMPLES)]
    method = PseudoMask(codec.special, SOURCE, STEPS)
    framed = [method.source(np.array(ids)) for ids in codec.encode(rows)]
    return codec, sorted(framed, key=len, reverse=True)


def ours(model_name: str, data: str, *, fast: bool = True, bf16: bool = False) -> Round:
    """This toolkit; `min_length` beyond the last step forces every output to full length."""
    keep_freed_memory()
    if fast:
        fast_float32_matmul()
    codec, sources = sources_of(model_name, data)
    model = load_finetuned(model_name)
    clean = Corruption(random_prob=0.0, keep_prob=0.0, target_mask_prob=0.0)
    method = PseudoMask(codec.special, SOURCE, STEPS + 1, clean)
    settings = SearchSettings(
        beam_size=BEAMS, max_length=STEPS, min_length=STEPS, eos_id=codec.special.sep, ngram_size=3
    )

    def run() -> dict[str, Any]:
        results: list[SearchResult] = []
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            for start in range(0, len(sources), BATCH):
                results += generate(model, method, sources[start : start + BATCH], settings)
        error = max(
            abs(
                forced_score(model, method, source, result.hypotheses[0].ids)
                - result.hypotheses[0].log_probability
            )
            for source, result in zip(sources[:4], results[:4], strict=True)
        )
        return {"examples": len(sources), "error": error}

    run()
    return run


def forced_score(
    model: Seq2SeqModel, method: PseudoMask, source: IntArray, ids: tuple[int, ...]
) -> float:
    """The log-probability of an output by one full pass."""
    example = method.corrupt(source[1:-1], np.array(ids), np.random.default_rng(0))
    with torch.inference_mode():
        rows = model.logits(method.lay_out([example])).log_softmax(-1)
    return float(rows[torch.arange(len(ids)), torch.tensor(ids)].sum())


def bart(model_name: str, data: str, *, layers: int, fast: bool = False) -> Round:
    """transformers' `generate`, key/value cache on, on a random BART."""
    if fast:
        fast_float32_matmul()
    codec, sources = sources_of(model_name, data)
    config = load_finetuned(model_name).encoder.config
    torch.manual_seed(0)
    model = BartForConditionalGeneration(
        BartConfig(
            vocab_size=config.vocab_size,
            d_model=config.hidden_size,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=config.num_attention_heads,
            decoder_attention_heads=config.num_attention_heads,
            encoder_ffn_dim=config.intermediate_size,
            decoder_ffn_dim=config.intermediate_size,
            max_position_embeddings=512,
            pad_token_id=codec.special.pad,
            bos_token_id=codec.special.cls,
            eos_token_id=codec.special.sep,
            decoder_start_token_id=codec.special.sep,
            forced_eos_token_id=None,
        )
    ).eval()
    search = GenerationConfig(
        num_beams=BEAMS,
        min_new_tokens=STEPS,
        max_new_tokens=STEPS,
        no_repeat_ngram_size=3,
        pad_token_id=codec.special.pad,
        eos_token_id=codec.special.sep,
        decoder_start_token_id=codec.special.sep,
    )

    def run() -> dict[str, Any]:
        for start in range(0, len(sources), BATCH):
            batch = sources[start : start + BATCH]
            ids = torch.full((len(batch), max(map(len, batch))), codec.special.pad)
            for row, source in enumerate(batch):
                ids[row, : len(source)] = torch.from_numpy(source)
            with torch.inference_mode():
                model.generate(
                    ids, attention_mask=(ids != codec.special.pad).long(), generation_config=search
                )
        return {"examples": len(sources), "error": None}

    run()
    return run


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--data", default="examples/debsum/dev.jsonl.gz")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    given = (arguments.model or default_model(), arguments.data)
    rows = measure(
        {
            "BART 6+6, generate": partial(bart, *given, layers=6),
            "BART 3+3, generate": partial(bart, *given, layers=3),
            "BART 6+6, generate, fast products": partial(bart, *given, layers=6, fast=True),
            "ours fp32, default products": partial(ours, *given, fast=False),
            "ours fp32": partial(ours, *given),
            "ours bf16": partial(ours, *given, bf16=True),
        },
        arguments.rounds,
    )
    table = [
        {
            "contestant": row.name,
            "examples/s": round(row.rate, 2),
            "times 6+6": round(ratio(row, rows[0]), 2),
            "times 3+3": round(ratio(row, rows[1]), 2),
            "score error": row.figures["error"],
            "peak MiB": round(row.peak_mib),
        }
        for row in rows
    ]
    write_report("decode_speed", table, batch=BATCH, beams=BEAMS, steps=STEPS, examples=EXAMPLES)


if __name__ == "__main__":
    main()
