"""Peers of the decoding benchmark: transformers' `generate` and CTranslate2, on a BART of the
encoder's width, heads and vocabulary.

Notable: weights are random, so lengths are forced; a peer feeds one row a beam and step, ours two.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, BartForConditionalGeneration, GenerationConfig

from benchmarks.decode_case import Case
from benchmarks.rounds import Round
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.text import TextCodec


def _bart_of(case: Case, codec: TextCodec, layers: int) -> BartForConditionalGeneration:
    """A random BART of the encoder's width, heads and vocabulary, `layers` a side."""
    encoder = load_finetuned(case.model).encoder.config
    config: Any = AutoConfig.for_model(
        "bart",
        vocab_size=encoder.vocab_size,
        d_model=encoder.hidden_size,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=encoder.num_attention_heads,
        decoder_attention_heads=encoder.num_attention_heads,
        encoder_ffn_dim=encoder.intermediate_size,
        decoder_ffn_dim=encoder.intermediate_size,
        max_position_embeddings=512,
        pad_token_id=codec.special.pad,
        bos_token_id=codec.special.cls,
        eos_token_id=codec.special.sep,
        decoder_start_token_id=codec.special.sep,
        forced_eos_token_id=None,
        normalize_before=False,  # CTranslate2's converter wants to be told
        normalize_embedding=True,
    )
    torch.manual_seed(0)
    model = BartForConditionalGeneration(config)
    model.eval()
    return model


def bart(case: Case, *, layers: int, fast: bool = False) -> Round:
    """transformers' `generate`, key/value cache on, on a random BART."""
    if fast:
        fast_float32_matmul()
    codec = TextCodec.load(case.model)
    sources = case.sources(codec)
    model: Any = _bart_of(case, codec, layers)  # how `generate` is typed differs by version
    search = GenerationConfig(
        num_beams=case.beams,
        min_new_tokens=case.steps,
        max_new_tokens=case.steps,
        no_repeat_ngram_size=3,
        pad_token_id=codec.special.pad,
        eos_token_id=codec.special.sep,
        decoder_start_token_id=codec.special.sep,
    )

    def run(count: int | None = None) -> dict[str, Any]:
        chosen = sources[:count]
        for start in range(0, len(chosen), case.batch):
            batch = chosen[start : start + case.batch]
            ids = torch.full((len(batch), max(map(len, batch))), codec.special.pad)
            for row, source in enumerate(batch):
                ids[row, : len(source)] = torch.from_numpy(source)
            with torch.inference_mode():
                model.generate(
                    ids, attention_mask=(ids != codec.special.pad).long(), generation_config=search
                )
        return {"examples": len(chosen), "found": None}

    run(case.batch)
    return run


def ctranslate(case: Case, *, layers: int, precision: str) -> Round:
    """CTranslate2 on the same random BART, one thread."""
    import ctranslate2

    codec = TextCodec.load(case.model)
    sources = [codec.tokens(source.tolist()) for source in case.sources(codec)]
    with tempfile.TemporaryDirectory() as folder:
        original, converted = str(Path(folder) / "bart"), str(Path(folder) / "converted")
        _bart_of(case, codec, layers).save_pretrained(original)
        tokenizer = codec.tokenizer
        tokenizer.bos_token, tokenizer.eos_token = tokenizer.cls_token, tokenizer.sep_token
        tokenizer.save_pretrained(original)
        ctranslate2.converters.TransformersConverter(original).convert(converted)
        translator = ctranslate2.Translator(
            converted, "cpu", compute_type=precision, inter_threads=1, intra_threads=1
        )

    def run(count: int | None = None) -> dict[str, Any]:
        chosen = sources[:count]
        translator.translate_batch(
            chosen,
            max_batch_size=case.batch,
            beam_size=case.beams,
            min_decoding_length=case.steps,
            max_decoding_length=case.steps,
            no_repeat_ngram_size=3,
        )
        return {"examples": len(chosen), "found": None}

    run(case.batch)
    return run
