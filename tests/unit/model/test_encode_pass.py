"""Which examples share a rectangle when sources are taken in, and that each keeps its own place."""

from __future__ import annotations

import pytest
import torch

from s2s_ft.model.cache import KeyValueCache
from s2s_ft.model.columns import CacheShape
from s2s_ft.model.encode_pass import WORTH_SAVING, EncodePass, _parts

CPU = torch.device("cpu")


def sizes_by_part(sizes: list[int], device: str = "cpu") -> list[list[int]]:
    return [sizes[part] for part in _parts(sizes, torch.device(device))]


def test_a_rectangle_ends_where_a_new_one_saves_enough() -> None:
    long, short = [200] * 3, [120] * 3
    assert WORTH_SAVING < 3 * (200**2 - 120**2)
    assert sizes_by_part(long + short) == [long, short]
    assert sizes_by_part([40] * 3 + [20] * 3) == [[40] * 3 + [20] * 3]  # too little to save
    assert sizes_by_part([200] * 3 + [170] * 30) == [[200] * 3 + [170] * 30]  # nearly as long
    assert sizes_by_part([7]) == [[7]]


def test_a_gpu_takes_all_in_one() -> None:
    assert sizes_by_part([200] * 9 + [10] * 9, "cuda") == [[200] * 9 + [10] * 9]


def test_no_example_is_left_out() -> None:
    sizes = sorted(torch.randint(2, 500, (200,)).tolist(), reverse=True)
    parts = sizes_by_part(sizes)
    assert [size for part in parts for size in part] == sizes
    assert 1 < len(parts) < 20


@pytest.mark.parametrize("lengths", [[3, 5, 2], [4], [2, 2, 6, 1]])
def test_true_tokens_side_by_side_longest_first(lengths: list[int]) -> None:
    cache = KeyValueCache(1, CacheShape(num_beams=1, num_rows=1, num_steps=2), CPU)
    rows = list(range(len(lengths)))
    entries = cache.place(rows, lengths, num_kept=0)
    plan = EncodePass(entries, lengths, None, num_kept=0, left_to_right=False)
    width = max(lengths) + 1
    order = sorted(rows, key=lambda row: -lengths[row])
    wanted = [(row, column) for row in order for column in range(width - lengths[row] - 1, width)]
    assert [divmod(cell, width) for cell in plan.cells.tolist()] == wanted
    positions = [place for row in order for place in range(lengths[row] + 1)]
    assert plan.positions.tolist() == [positions]
    questions = [place for place, (_, column) in enumerate(wanted) if column == width - 1]
    assert plan.is_question[0].nonzero().squeeze(1).tolist() == questions
    assert [wanted[place][0] for place in plan.read_rows.tolist()] == rows
