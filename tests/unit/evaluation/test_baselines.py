"""Baselines: the fast choice of k is the slow one, in every script."""

import numpy as np
import pytest

from s2s_ft.evaluation.baselines import (
    MOST_WORDS,
    best_num_words,
    first_sentences,
    lead_scores,
    leads,
)
from s2s_ft.evaluation.options import ScoringOptions
from s2s_ft.evaluation.rouge import load_tokenizer, rouge_scores
from s2s_ft.evaluation.words import split_words

NAMES = ("rouge1", "rouge2", "rougeL")


def test_scores_of_all_leads_are_those_of_rouge(debsum: tuple[list[str], list[str]]) -> None:
    sources = [*debsum[0][:25], "DVD ドライブの地域・ゾーン設定の表示", "", "one"]
    references = [*debsum[1][:25], "DVD の地域コード表示", "a b", ""]
    tokenizer = load_tokenizer("unicode", stem=True)
    fast = np.stack(
        [
            lead_scores(
                [tokenizer.tokenize(word) for word in split_words(source)[:MOST_WORDS]],
                tokenizer.tokenize(reference),
            )
            for source, reference in zip(sources, references, strict=True)
        ]
    )
    for num_words in (1, 2, 3, 7, 12, 31, 60):
        slow = rouge_scores(leads(sources, num_words), references)
        expected = np.stack([slow[name] for name in NAMES], axis=1)
        np.testing.assert_allclose(fast[:, num_words - 1], expected, atol=1e-12)


@pytest.mark.parametrize("tokenizer", ["unicode", "default"])
def test_the_best_lead_is_chosen(debsum: tuple[list[str], list[str]], tokenizer: str) -> None:
    sources, references = debsum[0][:60], debsum[1][:60]
    scoring = ScoringOptions(tokenizer=tokenizer)

    def mean(num_words: int) -> float:
        scores = rouge_scores(leads(sources, num_words), references, tokenizer=scoring.tokenizer)
        return sum(scores[name].mean() for name in NAMES)

    chosen = best_num_words(sources, references, scoring)
    assert mean(chosen) == pytest.approx(max(mean(k) for k in range(1, 40)), abs=1e-12)


def test_a_known_best_lead() -> None:
    assert best_num_words(["a b c d e f"] * 2, ["a b c"] * 2, ScoringOptions()) == 3


def test_published_scores_of_the_first_sentence(debsum: tuple[list[str], list[str]]) -> None:
    """About 33 / 16 / 29 on the whole development set; this is a sample of it."""
    scores = rouge_scores(first_sentences(debsum[0]), debsum[1])
    means = [100 * scores[name].mean() for name in NAMES]
    np.testing.assert_allclose(means, [33, 16, 29], atol=4)
