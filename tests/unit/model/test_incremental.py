"""Every family and method: incremental decoding with the cache equals the full pass, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from s2s_ft.corruption import Corruption
from s2s_ft.layout import Corrupted
from s2s_ft.methods import METHODS, Method
from s2s_ft.model.columns import CacheShape
from s2s_ft.model.encode_pass import EncodePass
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import SpecialIds
from tests.conftest import FAMILIES, VOCABULARY

SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=len(VOCABULARY))

CLEAN = Corruption(random_prob=0.0, keep_prob=0.0, target_mask_prob=0.0)


@pytest.fixture(scope="module")
def models(tiny_checkpoint: Callable[[str], Path]) -> dict[str, Seq2SeqModel]:
    return {family: load_finetuned(str(tiny_checkpoint(family))) for family in FAMILIES}


def random_examples(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sources past ModernBERT's window, of different lengths, so that padding and positions
    matter.
    """
    return [
        (rng.integers(5, len(VOCABULARY), size), rng.integers(5, len(VOCABULARY), 9))
        for size in (21, 3, 12)
    ]


def full_pass(
    model: Seq2SeqModel, method: Method, examples: list[Corrupted], left_to_right: bool
) -> torch.Tensor:
    """[B, T, V] predictions of every target token."""
    batch = method.lay_out(examples)
    return model.logits(batch, left_to_right_source=left_to_right).view(
        len(examples), -1, len(VOCABULARY)
    )


def masked_full_pass(
    model: Seq2SeqModel, method: Method, examples: list[Corrupted], left_to_right: bool
) -> torch.Tensor:
    """The masked method reads a row whose own token is hidden and whose later tokens are never
    seen: one pass each.
    """
    steps = []
    for step in range(len(examples[0].target)):
        hidden = []
        for example in examples:
            target = example.target[: step + 1].copy()
            target[step] = SPECIAL.mask
            hidden.append(
                replace(
                    example, target=target, read=np.array([step]), labels=example.target[[step]]
                )
            )
        steps.append(full_pass(model, method, hidden, left_to_right))
    return torch.cat(steps, dim=1)


def incremental(
    model: Seq2SeqModel,
    method: Method,
    sources: list[np.ndarray],
    targets: np.ndarray,
    left_to_right: bool,
    fixed_width: bool,
) -> torch.Tensor:
    """[B, T, V] predictions, with two identical beams from the second step on."""
    size, steps = max(map(len, sources)), targets.shape[1]
    ids = torch.zeros(len(sources), size + 1, dtype=torch.long)
    for row, source in enumerate(sources):
        ids[row, size - len(source) : size] = torch.from_numpy(source)
    ids[:, size:] = method.question(None, len(sources))[:, 0]
    cache = model.new_cache(
        CacheShape(num_beams=2, num_rows=1 + method.num_unkept, num_steps=steps, fixed=fixed_width)
    )
    logits = model.encode(
        ids,
        [len(source) for source in sources],
        cache,
        num_unkept=method.num_unkept,
        left_to_right=left_to_right,
    )
    outputs = [logits[:, 0]]
    for step in range(1, steps):
        last = torch.from_numpy(targets[:, step - 1 : step]).expand(-1, 2)
        question = method.question(last, len(sources))
        logits = model.step(question, cache, num_unkept=method.num_unkept)
        torch.testing.assert_close(logits[:, 0], logits[:, -1])
        outputs.append(logits[:, 0])
        cache.reorder(torch.zeros(len(sources), 2, dtype=torch.long))
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("fixed_width", [False, True], ids=["filled", "fixed"])
@pytest.mark.parametrize("left_to_right", [False, True], ids=["s2s", "l2r"])
@pytest.mark.parametrize("method_class", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_incremental_equals_full(
    models: dict[str, Seq2SeqModel],
    family: str,
    method_class: type[Method],
    left_to_right: bool,
    fixed_width: bool,
) -> None:
    model = models[family]
    method = method_class(SPECIAL, 24, 10, CLEAN)
    rng = np.random.default_rng(3)
    pairs = random_examples(rng)
    examples = [method.corrupt(source, target, rng) for source, target in pairs]
    if method.name == "masked":
        examples = [
            replace(example, target=np.concatenate([target, [SPECIAL.sep]]))
            for example, (_, target) in zip(examples, pairs, strict=True)
        ]
        whole = masked_full_pass(model, method, examples, left_to_right)
    else:
        whole = full_pass(model, method, examples, left_to_right)
    targets = np.stack([np.concatenate([target, [SPECIAL.sep]]) for _, target in pairs])
    stepwise = incremental(
        model, method, [example.source for example in examples], targets, left_to_right, fixed_width
    )
    torch.testing.assert_close(stepwise, whole, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "unilm"])
@torch.no_grad()
def test_source_rows_are_the_encoders_own(models: dict[str, Seq2SeqModel], family: str) -> None:
    """Without a target the plan changes nothing: the hidden states are those of transformers' own
    pass.

    (UniLM is left out: no class of transformers has its relative-position bias; golden A1 covers
    it.)
    """
    model = models[family]
    encoder = model.encoder
    ids = torch.randint(5, len(VOCABULARY), (2, 20))
    hidden = []
    hook = encoder.base_model.register_forward_hook(
        lambda _module, _args, output: hidden.append(output.last_hidden_state)
    )
    own = encoder.config._attn_implementation
    try:
        encoder.set_attn_implementation("eager")
        encoder(ids)
        encoder.set_attn_implementation(own)
        cache = model.new_cache(CacheShape(num_beams=1, num_rows=1, num_steps=1))
        entries = cache.place([0, 1], [20, 20], num_kept=0)
        plan = EncodePass(entries, [20, 20], None, num_kept=0, left_to_right=False)
        plan.read_rows = None
        asked = torch.cat([ids, torch.full((2, 1), SPECIAL.mask)], dim=1).view(-1)[plan.cells]
        types = model._types(torch.zeros_like(plan.is_question))
        model._run(asked.unsqueeze(0), plan.positions, types, plan)
    finally:
        hook.remove()
        encoder.set_attn_implementation(own)
    packed = hidden[1].view(2, 21, -1)
    torch.testing.assert_close(packed[:, :20], hidden[0], atol=1e-5, rtol=1e-5)
