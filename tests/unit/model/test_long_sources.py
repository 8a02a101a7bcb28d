"""Encoders for long sources: sliding windows are right far past the window, in training and in
cached decoding, and a source of 4,096 tokens is read as transformers reads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForMaskedLM, PreTrainedModel

from s2s_ft.corruption import CLEAN
from s2s_ft.decode.search.beam_search import SearchSettings
from s2s_ft.decode.session import generate_batch
from s2s_ft.methods import METHODS, Method, PseudoMask
from s2s_ft.model.attention import IMPLEMENTATION
from s2s_ft.model.seq2seq import Seq2SeqModel, Seq2SeqSettings
from s2s_ft.text import SpecialIds
from tests.unit.convert.test_families import scored_by_full_pass

SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=60)
SIZES = {
    "vocab_size": SPECIAL.vocab_size,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
MODERN = {"cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
SHAPES: dict[str, dict[str, Any]] = {
    "ModernBERT": {
        "model_type": "modernbert",
        "num_hidden_layers": 4,
        "global_attn_every_n_layers": 3,
        "local_attention": 8,
        **MODERN,
    },
    "only windows behind the first layer": {
        "model_type": "modernbert",
        "num_hidden_layers": 3,
        "global_attn_every_n_layers": 9,
        "local_attention": 4,
        **MODERN,
    },
    "EuroBERT": {
        "model_type": "eurobert",
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "mask_token_id": 4,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
    "NomicBERT": {"model_type": "nomic_bert", "num_hidden_layers": 2},
}
TRIED = [name for name, shape in SHAPES.items() if shape["model_type"] in CONFIG_MAPPING]


def encoder_of(shape: dict[str, Any], **changes: Any) -> PreTrainedModel:
    fields = {**SIZES, **shape, **changes}
    torch.manual_seed(5)
    config = CONFIG_MAPPING[fields.pop("model_type")](**fields)
    encoder: PreTrainedModel = AutoModelForMaskedLM.from_config(
        config, attn_implementation=IMPLEMENTATION
    )
    for number, layer in enumerate(getattr(encoder.base_model, "layers", [])):
        for module in layer.modules():
            if not hasattr(module, "layer_idx"):
                module.layer_idx = number  # as `model/assembly.py` does
    return encoder.eval()


def examples(lengths: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.integers(5, SPECIAL.vocab_size, length) for length in lengths]


@torch.no_grad()
def assert_decoded_as_the_full_pass(
    model: Seq2SeqModel, method: Method, sources: list[np.ndarray], steps: int
) -> None:
    settings = SearchSettings(beam_size=2, max_length=steps, min_length=steps, eos_id=SPECIAL.sep)
    framed = [method.source(source) for source in sources]
    for source, result in zip(
        sources, generate_batch(model, method, framed, settings), strict=True
    ):
        (found, *_) = result.hypotheses
        wanted = scored_by_full_pass(model, method, source, found)
        assert found.log_probability == pytest.approx(wanted, abs=5e-4)


@pytest.mark.parametrize("method_class", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("name", TRIED)
def test_cached_decoding_past_the_window(name: str, method_class: type[Method]) -> None:
    """Sources of many windows, targets of several: the search's scores are those of a full pass."""
    model = Seq2SeqModel(encoder_of(SHAPES[name]), Seq2SeqSettings(method=method_class.name))
    method = method_class(SPECIAL, 90, 30, CLEAN)
    assert_decoded_as_the_full_pass(model, method, examples((70, 9, 33)), steps=14)


@torch.no_grad()
def test_a_window_hides_what_is_far_and_nothing_else() -> None:
    """Two layers with a window of 4 to each side: a token further off changes nothing."""
    windows = {"num_hidden_layers": 2, "layer_types": ["sliding_attention"] * 2}
    model = Seq2SeqModel(encoder_of({**SHAPES["ModernBERT"], **windows}), Seq2SeqSettings())
    method = PseudoMask(SPECIAL, 90, 30, CLEAN)
    rng = np.random.default_rng(0)
    source, target = examples((60, 3))

    def logits(source: np.ndarray) -> torch.Tensor:
        return model.logits(method.lay_out([method.corrupt(source, target, rng)]))

    before, far, near = logits(source), source.copy(), source.copy()
    far[3], near[-2] = (far[3] - 5 + 1) % 55 + 5, (near[-2] - 5 + 1) % 55 + 5
    assert torch.equal(logits(far), before)
    assert not torch.allclose(logits(near), before)


def test_eight_thousand_positions_and_a_source_of_four_thousand() -> None:
    """Once at full length: ModernBERT's window of 128, a global layer and two local ones."""
    shape = {
        **SHAPES["ModernBERT"],
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "global_attn_every_n_layers": 2,
        "local_attention": 128,
        "max_position_embeddings": 8192,
    }
    model = Seq2SeqModel(encoder_of(shape), Seq2SeqSettings())
    method = PseudoMask(SPECIAL, 4096, 16, CLEAN)
    assert_decoded_as_the_full_pass(model, method, examples((4094,)), steps=4)
