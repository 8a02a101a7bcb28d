"""Rectangles of like shape: what stands in each cell, both ways, and which examples share one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from s2s_ft.layout import Batch, Corrupted, lay_out
from s2s_ft.model import rectangles as module
from s2s_ft.model.rectangles import STEP, Rectangles
from s2s_ft.model.shapes import COARSE, FINE, Steps

LENGTHS = [(3, 2), (40, 9), (17, 4), (32, 20), (16, 7), (1, 1), (18, 3), (33, 8)]
HEADS, SIZE = 2, 4


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several threads are given one rectangle."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def batch(num_target_blocks: int) -> Batch:
    """Every token of a batch has an id of its own."""
    free, examples = iter(range(1, 10_000)), []
    for n, m in LENGTHS:
        blocks = [np.array([next(free) for _ in range(size)]) for size in (n, m, m)]
        pseudo = blocks[2] if num_target_blocks == 2 else blocks[2][:0]
        examples.append(Corrupted(blocks[0], blocks[1], pseudo, np.arange(m), np.full(m, 7)))
    return lay_out(examples, 0, num_target_blocks)


def sorted_by_shape(laid: Batch, steps: Steps = FINE, extra: int = 0) -> Rectangles:
    return Rectangles(laid, steps, laid.num_tokens + extra)


def rows_of(laid: Batch, extra: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, HEADS, laid.num_tokens + extra, SIZE, generator=generator)


@pytest.mark.parametrize("blocks", [1, 2])
def test_each_example_is_in_one_rectangle_as_it_was(blocks: int) -> None:
    laid = batch(blocks)
    found = []
    for part in sorted_by_shape(laid).parts:
        one = part.batch
        starts = [0, *(one.source_size + i * one.target_size for i in range(blocks))]
        for row in range(one.num_examples):
            n, m = int(one.source_lengths[row]), int(one.target_lengths[row])
            columns = [
                start + i
                for start, size in zip(starts, (n, m, m), strict=False)
                for i in range(size)
            ]
            found.append((one.ids[row, columns].tolist(), one.positions[row, columns].tolist()))
    wanted = []
    for row in range(laid.num_examples):
        real = laid.cells[laid.cells // laid.ids.shape[1] == row].sort().values % laid.ids.shape[1]
        wanted.append((laid.ids[row, real].tolist(), laid.positions[row, real].tolist()))
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("blocks", [1, 2])
def test_padding_ends_at_the_next_step(blocks: int) -> None:
    for part in sorted_by_shape(batch(blocks)).parts:
        one = part.batch
        assert one.source_size % STEP == 0
        assert blocks * one.target_size % STEP == 0
        assert (one.source_size - one.source_lengths < STEP).all()
        assert (one.target_size - one.target_lengths < STEP // blocks).all()
        assert one.ids.shape[1] == one.source_size + blocks * one.target_size


def test_examples_of_one_shape_share_a_rectangle() -> None:
    shapes = Counter(
        (part.batch.source_size, part.batch.target_size, part.batch.num_examples)
        for part in sorted_by_shape(batch(2)).parts
    )
    # (3, 2) and (16, 7) and (1, 1) are alike: two of them, and one that is left
    assert shapes == Counter(
        [(16, 8, 2), (16, 8, 1), (32, 8, 2), (32, 24, 1), (48, 16, 1), (48, 8, 1)]
    )


def test_several_threads_are_given_one_rectangle(monkeypatch: pytest.MonkeyPatch) -> None:
    laid, packed = batch(2), rows_of(batch(2))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    both = sorted_by_shape(laid)
    (part,) = both.parts
    assert part.batch.ids.shape == laid.ids.shape
    assert torch.equal(part.batch.source_lengths, laid.source_lengths)
    for in_halves in (False, True):
        spread = both.spread(packed, in_halves=in_halves)
        assert torch.equal(both.gather(spread, HEADS, in_halves=in_halves), packed)


def test_that_one_is_rounded_up_where_shapes_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    laid = batch(2)
    (part,) = sorted_by_shape(laid, COARSE).parts
    assert (laid.source_size, laid.target_size) == (40, 20)
    assert (part.batch.source_size, part.batch.target_size) == (48, 32)
    assert part.batch.ids.shape == (laid.num_examples, 48 + 2 * 32)


@pytest.mark.parametrize("steps", [FINE, COARSE])
def test_rows_behind_the_true_ones_stand_nowhere(steps: Steps) -> None:
    laid = batch(2)
    both, packed = sorted_by_shape(laid, steps, extra=3), rows_of(laid, extra=3)
    for in_halves in (False, True):
        for spread in (both.spread, both.spread_or_zero):
            back = both.gather(spread(packed, in_halves=in_halves), HEADS, in_halves=in_halves)
            assert torch.equal(back[:, :, :-3], packed[:, :, :-3])
            assert torch.equal(back[:, :, -3:], torch.zeros_like(back[:, :, -3:]))


def test_a_large_example_has_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CELLS", 2 * 32**2)
    counts = [
        (part.batch.ids.shape[1], part.batch.num_examples)
        for part in sorted_by_shape(batch(2)).parts
    ]
    assert all(length == 32 or count == 1 for length, count in counts)
    assert (32, 2) in counts


@pytest.mark.parametrize("blocks", [1, 2])
def test_spread_and_gather_are_inverse(blocks: int) -> None:
    laid = batch(blocks)
    both, packed = sorted_by_shape(laid), rows_of(laid)
    for in_halves in (False, True):
        for spread in (both.spread, both.spread_or_zero):
            buffer = spread(packed, in_halves=in_halves)
            assert torch.equal(both.gather(buffer, HEADS, in_halves=in_halves), packed)


def test_halves_are_the_columns_of_the_whole() -> None:
    laid = batch(2)
    both, packed = sorted_by_shape(laid), rows_of(laid)
    whole, halves = both.spread(packed), both.spread(packed, in_halves=True)
    for part in both.parts:
        one, (source, rest) = part.of(whole, HEADS), part.halves_of(halves, HEADS)
        assert torch.equal(torch.cat([source, rest], dim=1), one)
        assert source.is_contiguous()
        assert rest.is_contiguous()


def test_a_cell_holds_the_row_of_its_token_in_every_head() -> None:
    laid = batch(2)
    both = sorted_by_shape(laid)
    ids = laid.ids.view(-1)[laid.cells].double()
    packed = torch.stack([ids, -ids]).view(1, HEADS, -1, 1)
    spread, zeroed = both.spread(packed), both.spread_or_zero(packed)
    for part in both.parts:
        first = part.batch.ids[:, :1].expand_as(part.batch.ids)
        standing = torch.where(part.batch.ids == 0, first, part.batch.ids).double()
        of_heads = part.of(spread, HEADS).view(part.batch.num_examples, HEADS, -1)
        padded = part.of(zeroed, HEADS).view(part.batch.num_examples, HEADS, -1)
        for head, sign in enumerate((1.0, -1.0)):
            real = padded[:, head] != 0.0
            assert torch.equal(of_heads[:, head][real], sign * standing[real])
            assert torch.equal(padded[:, head][real], sign * part.batch.ids[real].double())
            assert torch.equal(of_heads[:, head][~real], sign * first[~real].double())
    assert int((zeroed != 0.0).sum()) == HEADS * laid.num_tokens
