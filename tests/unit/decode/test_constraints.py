"""Which tokens are forbidden, on histories written by hand."""

from __future__ import annotations

import pytest
import torch

from s2s_ft.decode.constraints import FORBIDDEN, forbid_early_end, forbid_repeated_ngrams


@pytest.mark.parametrize(
    ("history", "size", "ignored", "forbidden"),
    [
        ([1, 2, 3, 1, 2], 3, [], {3}),
        ([1, 2, 3, 1, 2, 4, 1, 2], 3, [], {3, 4}),
        ([1, 2, 3, 1, 2], 2, [], {3}),
        ([1, 1, 1], 2, [], {1}),
        ([1, 2], 3, [], set()),
        ([4, 5], 1, [], {4, 5}),
        ([1, 2, 3, 1, 2], 3, [3], set()),  # the token itself is ignored
        ([1, 2, 3, 1, 2], 3, [1], set()),  # the tail holds an ignored token
        ([1, 2, 3, 1, 2], 3, [5], {3}),
    ],
)
def test_repeated_ngrams(
    history: list[int], size: int, ignored: list[int], forbidden: set[int]
) -> None:
    scores = torch.zeros(1, 1, 7)
    ours = forbid_repeated_ngrams(
        scores, torch.tensor([[history]]), size, torch.tensor(ignored, dtype=torch.long)
    )
    assert set((ours[0, 0] == FORBIDDEN).nonzero().flatten().tolist()) == forbidden
    assert scores.abs().sum() == 0


def test_beams_are_judged_one_by_one() -> None:
    history = torch.tensor([[[1, 2, 1], [1, 2, 3]], [[4, 4, 4], [5, 6, 5]]])
    ours = forbid_repeated_ngrams(
        torch.zeros(2, 2, 7), history, 2, torch.empty(0, dtype=torch.long)
    )
    assert (ours == FORBIDDEN).nonzero().tolist() == [[0, 0, 2], [1, 0, 4], [1, 1, 6]]


def test_early_end_is_the_last_choice() -> None:
    scores = torch.full((1, 2, 3), -1.0)
    ours = forbid_early_end(scores, 2)
    assert ours[..., 2].tolist() == [[FORBIDDEN, FORBIDDEN]]
    assert ours[..., :2].eq(-1.0).all()
