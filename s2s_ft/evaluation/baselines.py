"""Two baselines any generator should beat: the source's first sentence, and its first k words.

k is chosen on a development set. Notable: all k are scored in one pass over each example, because
the words of a prefix are a prefix of the words, and one table of longest common subsequences has
a row for every prefix; a test holds the result against `rouge_scores`.

Letters: K numbers of words, N examples.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from s2s_ft.evaluation.options import ScoringOptions
from s2s_ft.evaluation.questions import common_lengths
from s2s_ft.evaluation.rouge import load_tokenizer
from s2s_ft.evaluation.sentences import first_sentence, plain_lines
from s2s_ft.evaluation.words import first_words, split_words

MOST_WORDS = 60


def first_sentences(sources: Sequence[str]) -> list[str]:
    """The first sentence of each source."""
    return [first_sentence(source) for source in sources]


def leads(sources: Sequence[str], num_words: int) -> list[str]:
    """The first `num_words` words of each source (characters in scripts without spaces)."""
    return [first_words(plain_lines(source), num_words) for source in sources]


def best_num_words(
    sources: Sequence[str], references: Sequence[str], scoring: ScoringOptions
) -> int:
    """Choose how many words of the source make the best baseline.

    Args:
        sources: N texts of a development set.
        references: N texts, in the same order.
        scoring: Tokenizer and stemming of ROUGE.

    Returns:
        The number from 1 to `MOST_WORDS` with the highest mean of ROUGE-1, -2 and -L F1; the
        smallest of equals.
    """
    tokenizer = load_tokenizer(scoring.tokenizer, stem=not scoring.no_stemmer)
    totals = np.zeros(MOST_WORDS)
    for source, reference in zip(sources, references, strict=True):
        words = split_words(plain_lines(source))[:MOST_WORDS]
        tokens = [tokenizer.tokenize(word) for word in words]
        totals += lead_scores(tokens, tokenizer.tokenize(plain_lines(reference))).mean(axis=1)
    return int(totals.argmax()) + 1


def lead_scores(words: Sequence[Sequence[str]], reference: Sequence[str]) -> NDArray[np.float64]:
    """Score the first 1, 2, … `MOST_WORDS` words of a source against a reference.

    Args:
        words: The tokens that each word of the source is made of; past the last word the scores
            stay.
        reference: Tokens of the reference.

    Returns:
        [K, 3] float64, F1 of ROUGE-1, -2 and -L, 0 to 1.
    """
    tokens = [token for word in words for token in word]
    lengths = np.zeros(MOST_WORDS, dtype=np.int64)
    lengths[: len(words)] = [len(word) for word in words]
    ends = lengths.cumsum()  # [K], tokens in the first k words
    columns = [
        (_gram_matches(tokens, reference, size=1), 1),
        (_gram_matches(tokens, reference, size=2), 2),
        (np.asarray(common_lengths(tokens, reference)), 1),
    ]
    scores = np.zeros((MOST_WORDS, len(columns)))
    for column, (matches, size) in enumerate(columns):
        num_grams = np.maximum(ends - size + 1, 0) + max(len(reference) - size + 1, 0)
        # F1 of precision and recall with the same numerator; 0 where there is nothing to match.
        scores[:, column] = 2 * matches[ends] / np.maximum(num_grams, 1)
    return scores


def _gram_matches(
    tokens: Sequence[str], reference: Sequence[str], *, size: int
) -> NDArray[np.int64]:
    """Matching n-grams, each as often as the reference has it, in every prefix of `tokens`."""
    left = Counter(_grams(reference, size))
    hits = [0] * size  # the prefixes that are shorter than one n-gram, the empty one among them
    for gram in _grams(tokens, size):
        hits.append(int(left[gram] > 0))
        left[gram] -= 1
    return np.cumsum(hits[: len(tokens) + 1])


def _grams(tokens: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[offset:] for offset in range(size)), strict=False)
