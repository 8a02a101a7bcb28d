"""Which tokens the rules change, by hand and against transformers' own processors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.generation.logits_process import (
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from s2s_ft.decode.rules.constraints import (
    BadWords,
    EarlyEnd,
    RepeatedNgrams,
    RepetitionPenalty,
    newest_tokens,
)
from s2s_ft.decode.search.requests import FORBIDDEN, Progress, SparseRule
from tests.unit.decode.chain import CPU, EOS, progress_of

VOCABULARY = 9


def forbidden(rule: SparseRule, progress: Progress) -> Tensor:
    """[B, W, V] bool, the tokens whose log-probability a rule lowers to nothing."""
    result = torch.zeros(*progress.history.shape[:2], VOCABULARY)
    edits = rule.edits(progress)
    if edits is not None:
        assert edits.amounts.dtype == torch.float32
        result.scatter_reduce_(-1, edits.tokens, edits.amounts, "amin")
    assert set(result.unique().tolist()) <= {FORBIDDEN, 0.0}
    return result < 0


def random_progress(examples: int, beams: int, seed: int) -> Progress:
    """Hypotheses without an end token, each example's of its own length."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 14, (examples,), generator=generator).tolist()
    return progress_of(
        [
            torch.randint(1, VOCABULARY, (beams, length), generator=generator).tolist()
            for length in lengths
        ]
    )


def alone(progress: Progress, example: int) -> Progress:
    """One example of a batch, its history as long as its hypotheses."""
    steps = int(progress.steps[example])
    return Progress(
        progress.history[example, None, :, :steps],
        progress.steps[example, None],
        progress.totals[example, None],
        progress.slots[example, None],
    )


@pytest.mark.parametrize(
    ("history", "size", "ignored", "wanted"),
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
    history: list[int], size: int, ignored: list[int], wanted: set[int]
) -> None:
    rule = RepeatedNgrams(size, ignored, CPU)
    progress = progress_of([[history]])
    assert set(forbidden(rule, progress)[0, 0].nonzero().flatten().tolist()) == wanted
    longer = Progress(  # columns behind the tokens mean nothing
        torch.cat([progress.history, torch.tensor([[[1, 2, 3, EOS, EOS]]])], dim=-1),
        progress.steps,
        progress.totals,
        progress.slots,
    )
    assert set(forbidden(rule, longer)[0, 0].nonzero().flatten().tolist()) == wanted


class Wants:
    """The same tokens are wanted everywhere."""

    def __init__(self, *tokens: int) -> None:
        self.tokens = torch.tensor([[tokens]])

    def wanted(self, progress: Progress) -> Tensor:
        return self.tokens


def test_what_is_wanted_is_no_repetition() -> None:
    progress = progress_of([[[1, 2, 1, 3, 1]]])
    for exempt, wanted in [((), [2, 3]), ((Wants(2, -1),), [3]), ((Wants(2), Wants(3)), [])]:
        rule = RepeatedNgrams(2, (), CPU, exempt=exempt)
        assert forbidden(rule, progress)[0, 0].nonzero().flatten().tolist() == wanted


def test_the_end_is_early_until_the_minimum_length() -> None:
    progress = progress_of([[[]], [[1]], [[1, 1]], [[1, 1, 1]]])
    rule = EarlyEnd(2, EOS)
    assert rule.edits(progress).replace
    assert forbidden(rule, progress)[:, 0, EOS].tolist() == [True, True, False, False]
    assert not forbidden(rule, progress)[..., EOS + 1 :].any()


@pytest.mark.parametrize(
    ("words", "history", "wanted"),
    [
        (((3,),), [], {3}),
        (((3,), (4, 5)), [4], {3, 5}),
        (((4, 5),), [4, 4], {5}),
        (((4, 5),), [5], set()),
        (((1, 2, 3), (2, 4), (2, 4)), [1, 2], {3, 4}),
        (((1, 2, 3),), [2], set()),
        (((EOS,), (7, EOS)), [7], {EOS}),  # the end token alone is left out
        (((EOS,),), [7], set()),
    ],
)
def test_bad_words(words: tuple[Any, ...], history: list[int], wanted: set[int]) -> None:
    rule = BadWords(words, EOS, CPU)
    found = forbidden(rule, progress_of([[history]]))
    assert set(found[0, 0].nonzero().flatten().tolist()) == wanted


IN_NO_WORD = 4
BAD_WORDS = ((3,), (5, 6), (5, 5), (1, 2, 1), (8, 7, 6, 5), (2, EOS))
RULES = {
    "ngrams of 1": (RepeatedNgrams(1, (), CPU), NoRepeatNGramLogitsProcessor(1)),
    "ngrams of 2": (RepeatedNgrams(2, (), CPU), NoRepeatNGramLogitsProcessor(2)),
    "ngrams of 3": (RepeatedNgrams(3, (), CPU), NoRepeatNGramLogitsProcessor(3)),
    "bad words": (
        BadWords(BAD_WORDS, EOS, CPU),
        NoBadWordsLogitsProcessor([list(word) for word in BAD_WORDS], EOS),
    ),
    "minimum length": (EarlyEnd(6, EOS), MinNewTokensLengthLogitsProcessor(0, 6, EOS)),
}


@pytest.mark.parametrize("name", RULES)
def test_transformers_forbids_the_same(name: str) -> None:
    """For examples at different steps, each against transformers alone."""
    rule, processor = RULES[name]
    for seed in range(20):
        progress = random_progress(6, 3, seed)
        found = forbidden(rule, progress)
        for example, beams in enumerate(progress.history):
            tokens = beams[:, : progress.steps[example]]
            if name == "bad words":  # some releases miss a word of one token more than there are
                tokens = torch.cat([torch.full((3, 4), IN_NO_WORD), tokens], dim=1)
            theirs = processor(tokens, torch.zeros(3, VOCABULARY)).isinf()
            assert found[example].equal(theirs), (seed, example)
            assert forbidden(rule, alone(progress, example))[0].equal(theirs)


@pytest.mark.parametrize("penalty", [0.5, 1.3, 2.0])
def test_repetition_is_punished_as_in_transformers(penalty: float) -> None:
    processor = RepetitionPenaltyLogitsProcessor(penalty)
    for seed in range(20):
        progress = random_progress(6, 3, seed)
        scores = torch.randn(6, 3, VOCABULARY).log_softmax(-1)
        before = scores.clone()
        ours = RepetitionPenalty(penalty)(scores, progress)
        for example, beams in enumerate(progress.history):
            theirs = processor(beams[:, : progress.steps[example]], scores[example])
            torch.testing.assert_close(ours[example], theirs)
        assert scores.equal(before)


def test_nothing_repeats_before_the_first_token() -> None:
    scores = torch.randn(2, 1, VOCABULARY)
    for progress in (progress_of([[[]], [[]]]), progress_of([[[]], [[3]]])):
        ours = RepetitionPenalty(2.0)(scores, progress)
        assert ours[0].equal(scores[0])
        assert not forbidden(RepeatedNgrams(1, (), CPU), progress)[0].any()


def test_the_newest_tokens() -> None:
    progress = progress_of([[[5, 6, 7]], [[8]], [[]]])
    assert newest_tokens(progress, 2).tolist() == [[[6, 7]], [[-1, 8]], [[-1, -1]]]
    assert newest_tokens(progress, 0).shape == (3, 1, 0)
    assert newest_tokens(progress_of([[[]]]), 2).tolist() == [[[-1, -1]]]
