"""The short way from raw logits to the next beams gives what a written-out log-softmax gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from s2s_ft.decode.rules.constraints import EarlyEnd, RepeatedNgrams
from s2s_ft.decode.search.choosing import Chooser, log_sum_exp, top_of_rows
from s2s_ft.decode.search.requests import AnyRule, Edits, Progress

EXAMPLES, BEAMS, VOCABULARY, EOS = 3, 4, 1009, 3


class TwiceNamed:
    """Names the same tokens twice; the lowest amount counts, once."""

    def edits(self, progress: Progress) -> Edits:
        shape = (*progress.history.shape[:2], 4)
        tokens = torch.tensor([7, 8, 7, 8]).expand(shape)
        return Edits(tokens, torch.tensor([-5.0, 0.0, -900.0, -0.5]).expand(shape))


def unchanged(scores: Tensor, progress: Progress) -> Tensor:
    return scores


def progress_of(generator: torch.Generator) -> Progress:
    history = torch.randint(4, 12, (EXAMPLES, BEAMS, 9), generator=generator)
    history[0, 1, 5] = EOS  # a beam that has ended
    return Progress(
        history=history,
        steps=torch.tensor([6, 2, 9]),
        totals=torch.randn(EXAMPLES, BEAMS, generator=generator),
        slots=torch.arange(EXAMPLES),
    )


@pytest.mark.parametrize("seed", range(5))
def test_short_way_equals_long_way(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    progress = progress_of(generator)
    logits = torch.randn(EXAMPLES, BEAMS, VOCABULARY, generator=generator) * 4 + 30
    logits[..., 4:12] += 12  # what the rules are about is likely
    cpu = torch.device("cpu")
    rules: list[AnyRule] = [RepeatedNgrams(2, (), cpu), TwiceNamed(), EarlyEnd(4, EOS)]
    short = Chooser(rules, None, beam_size=BEAMS, eos_id=EOS)
    long = Chooser([*rules, unchanged], None, beam_size=BEAMS, eos_id=EOS)
    found, wanted = short(logits.clone(), progress), long(logits.clone(), progress)
    torch.testing.assert_close(found.totals, wanted.totals, atol=1e-4, rtol=1e-5)
    assert torch.equal(found.tokens, wanted.tokens)
    assert torch.equal(found.parents, wanted.parents)


@pytest.mark.parametrize("width", [5, 64, 700, 3001])
def test_top_of_rows_is_topk(width: int) -> None:
    rows = torch.randperm(7 * width, generator=torch.Generator().manual_seed(0)).float()
    rows = rows.view(7, width)
    values, indices = top_of_rows(rows, 5)
    wanted = rows.topk(5)
    assert torch.equal(values, wanted.values)
    assert torch.equal(indices, wanted.indices)


def test_log_sum_exp() -> None:
    rows = torch.randn(9, 333, generator=torch.Generator().manual_seed(1)) * 50
    torch.testing.assert_close(log_sum_exp(rows), rows.logsumexp(-1, keepdim=True))
    rows[2, 0], rows[7, 0] = -torch.inf, torch.finfo(torch.float32).min  # a token nobody may say
    torch.testing.assert_close(log_sum_exp(rows), rows.logsumexp(-1, keepdim=True))
    rows[4, 5] = torch.nan
    assert log_sum_exp(rows).isnan().squeeze(1).tolist() == [row == 4 for row in range(9)]
