"""What each method corrupts, supervises, lays out and asks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s2s_ft.corruption import Corruption
from s2s_ft.methods import Causal, Masked, Method, PseudoMask, method_named
from s2s_ft.text import SpecialIds

SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=1000)
SOURCE, TARGET = np.arange(10, 16), np.arange(20, 24)


def made(method: type[Method], **corruption: float) -> Method:
    return method(SPECIAL, 16, 12, Corruption(**corruption))  # type: ignore[arg-type]


@pytest.mark.parametrize("method_class", [Causal, Masked, PseudoMask])
def test_an_example_depends_on_its_generator_alone(method_class: type[Method]) -> None:
    method = made(method_class, source_mask_prob=0.3)
    first = method.corrupt(SOURCE, TARGET, np.random.default_rng(1))
    again = method.corrupt(SOURCE, TARGET, np.random.default_rng(1))
    other = [method.corrupt(SOURCE, TARGET, np.random.default_rng(seed)) for seed in range(2, 12)]
    for name in ("source", "target", "pseudo", "read", "labels"):
        assert getattr(first, name).tolist() == getattr(again, name).tolist()
    assert any(example.target.tolist() != first.target.tolist() for example in other)


@pytest.mark.parametrize("method_class", [Causal, Masked, PseudoMask])
def test_replacements_are_80_10_10(method_class: type[Method]) -> None:
    method = method_class(SPECIAL, 16, 4001, Corruption(target_mask_prob=1.0))
    target = np.full(4000, 999)
    example = method.corrupt(SOURCE, target, np.random.default_rng(0))
    slots = example.pseudo if len(example.pseudo) else example.target[1:]
    assert np.mean(slots == SPECIAL.mask) == pytest.approx(0.8, abs=0.03)
    assert np.mean(slots == 999) == pytest.approx(0.1, abs=0.03)
    others = slots[(slots != SPECIAL.mask) & (slots != 999)]
    assert len(others) / 4000 == pytest.approx(0.1, abs=0.03)
    assert len(set(others.tolist())) > 200


def test_causal_labels_stay_clean_and_the_start_symbol_too() -> None:
    example = made(Causal, target_mask_prob=1.0, keep_prob=0.0, random_prob=0.0).corrupt(
        SOURCE, TARGET, np.random.default_rng(0)
    )
    assert example.target.tolist() == [3, 4, 4, 4, 4]
    assert example.labels.tolist() == [20, 21, 22, 23, 3]
    assert example.source.tolist() == [2, 10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize(
    ("probability", "cap", "count"),
    [(0.0, 0, 1), (0.5, 0, 5), (1.0, 0, 11), (1.0, 3, 3), (0.3, 0, 3)],
)
def test_masked_supervises_a_share(probability: float, cap: int, count: int) -> None:
    method = made(
        Masked, target_mask_prob=probability, num_max_mask_token=cap, keep_prob=0.0, random_prob=0.0
    )
    example = method.corrupt(SOURCE, np.arange(20, 30), np.random.default_rng(0))
    assert len(example.read) == len(set(example.read.tolist())) == count
    assert (example.target[example.read] == SPECIAL.mask).all()
    clean = example.target.copy()
    clean[example.read] = example.labels
    assert clean.tolist() == [*range(20, 30), 3]


def test_pseudo_slot_and_dropped_word_hold_the_same_token() -> None:
    method = made(PseudoMask, target_mask_prob=0.5, random_prob=0.5, keep_prob=0.0)
    for seed in range(20):
        example = method.corrupt(SOURCE, TARGET, np.random.default_rng(seed))
        clean = np.array([20, 21, 22, 23, 3])
        assert ((example.target == clean) | (example.target == example.pseudo)).all()
        assert example.labels.tolist() == clean.tolist()


def test_source_corruption_spares_special_tokens() -> None:
    method = made(PseudoMask, source_mask_prob=1.0, keep_prob=0.0, random_prob=0.0)
    assert method.corrupt(SOURCE, TARGET, np.random.default_rng(0)).source.tolist() == [
        2,
        *[4] * 6,
        3,
    ]


def test_layout_of_a_batch() -> None:
    """Two examples, drawn by hand: blocks padded at their ends, pseudo tokens on their target's
    positions.
    """
    method = made(PseudoMask, target_mask_prob=0.0, keep_prob=0.0, random_prob=0.0)
    rng = np.random.default_rng(0)
    batch = method.lay_out(
        [
            method.corrupt(np.array([10, 11]), np.array([20]), rng),
            method.corrupt(np.array([12]), np.array([]).astype(int), rng),
        ]
    )
    assert batch.ids.tolist() == [[2, 10, 11, 3, 20, 3, 4, 4], [2, 12, 3, 0, 3, 0, 4, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 5, 4, 5], [0, 1, 2, 0, 3, 0, 3, 0]]
    assert batch.supervised.tolist() == [6, 7, 14]
    assert batch.labels.tolist() == [20, 3, 3]
    assert (batch.source_size, batch.target_size, batch.has_pseudo) == (4, 2, True)
    assert batch.num_tokens == 4 + 2 * 2 + 3 + 2 * 1


def test_questions() -> None:
    last = torch.tensor([[7, 8]])
    assert made(Causal).question(None, 2).tolist() == [[[3]], [[3]]]
    assert made(Causal).question(last, 1).tolist() == [[[7], [8]]]
    assert made(PseudoMask).question(None, 1).tolist() == [[[4]]]
    assert made(Masked).question(last, 1).tolist() == [[[7, 4], [8, 4]]]


@pytest.mark.parametrize(
    ("method_class", "expected"), [(Causal, [9, 28]), (Masked, [10, 28]), (PseudoMask, [14, 40])]
)
def test_row_lengths_count_what_the_batch_holds(
    method_class: type[Method], expected: list[int]
) -> None:
    method = made(method_class)
    lengths = method.row_lengths(np.array([3 + 1, 90]), np.array([3, 90]))
    assert lengths.tolist() == expected
    example = method.corrupt(np.arange(10, 14), np.arange(20, 23), np.random.default_rng(0))
    assert method.lay_out([example]).ids.shape[1] == expected[0]


def test_unknown_method_is_named() -> None:
    with pytest.raises(
        ValueError, match="--fine_tuning_method: 'v9' is none of causal, masked, pseudo_mask"
    ):
        method_named("v9", special=SPECIAL, max_source_length=9, max_target_length=9)
