"""ROUGE of the CNN/DM protocol against a slow one, written from Lin's definitions."""

from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from s2s_ft.evaluation.options import ProtocolOptions, ScoringOptions
from s2s_ft.evaluation.protocols import prepare_prediction, prepare_reference, settle
from s2s_ft.evaluation.sentences import split_sentences
from s2s_ft.evaluation.testset import TestSet
from s2s_ft.evaluation.words import scoring_words


def f1(matches: int, predicted: int, wanted: int) -> float:
    return 2 * matches / (predicted + wanted) if matches else 0.0


def common_places(one: list[str], other: list[str]) -> set[int]:
    """Places in `one` of a longest common subsequence with `other`."""

    @cache
    def length(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 0
        if one[i - 1] == other[j - 1]:
            return length(i - 1, j - 1) + 1
        return max(length(i - 1, j), length(i, j - 1))

    found, i, j = set(), len(one), len(other)
    while i and j:
        if one[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            found.add(i)
        elif length(i - 1, j) >= length(i, j - 1):
            i -= 1
        else:
            j -= 1
    return found


def slow_summary_level(prediction: str, reference: str) -> float:
    """Union of the common subsequences of each reference sentence with all predicted ones."""
    own, wanted = ([scoring_words(s) for s in t.split("\n")] for t in (prediction, reference))
    left, needed = (Counter(word for s in side for word in s) for side in (own, wanted))
    total, matches = (left.total(), needed.total()), 0
    for sentence in wanted:
        for place in sorted(set().union(*(common_places(sentence, each) for each in own))):
            word = sentence[place]
            if left[word] > 0 and needed[word] > 0:
                matches += 1
                left[word] -= 1
                needed[word] -= 1
    return f1(matches, *total)


def slow_bigrams(prediction: str, reference: str) -> float:
    sides = []
    for text in (prediction, reference):
        words = scoring_words(text)
        sides.append(Counter(pairwise(words)))
    return f1((sides[0] & sides[1]).total(), sides[0].total(), sides[1].total())


def test_rouge_after_clean_up_is_that_of_the_definitions(
    debsum: tuple[list[str], list[str]],
) -> None:
    sentences = [each for each in map(split_sentences, debsum[0]) if len(each) > 3][:40]
    assert len(sentences) == 40
    references = [" [X_SEP] ".join(each[:3]) for each in sentences]
    random = np.random.default_rng(0)
    predictions = []
    for each in sentences:  # other sentences of the source, a fifth of their words left out
        words = " [X_SEP] ".join(each[1:5]).split()
        predictions.append(" ".join(w for w in words if w == "[X_SEP]" or random.random() > 0.2))
    options = ProtocolOptions(protocol="cnndm", trunc_len=60)
    test_set = TestSet(references, ScoringOptions(no_stemmer=True), options)
    measures = {measure.key: measure.statistics[:, 0] for measure in test_set.measures(predictions)}
    protocol = settle(options)
    pairs = [
        (prepare_prediction(p, protocol), prepare_reference(r, protocol))
        for p, r in zip(predictions, references, strict=True)
    ]
    np.testing.assert_allclose(measures["rouge2"], [slow_bigrams(*pair) for pair in pairs])
    slow = np.asarray([slow_summary_level(*pair) for pair in pairs])
    # Where there are several longest subsequences, the union depends on which is taken.
    assert (np.abs(measures["rougeLsum"] - slow) < 1e-9).mean() > 0.8
    assert measures["rougeLsum"].mean() == pytest.approx(slow.mean(), abs=0.002)
