"""ROUGE-1, -2, -L and -Lsum through the rouge-score library, for text in any script.

Notable: rouge-score is given the tokenizer of `words.py`, which agrees with the library's own on
ASCII text and does not drop other letters. ROUGE-Lsum compares sentence by sentence, and the
library only knows newlines, so every text is split into sentences first. ROUGE-1, -2 and -L
do not see that.

Letters: N examples.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from s2s_ft.evaluation.measures import Measure, means
from s2s_ft.evaluation.options import RougeTokenizer, ScoringOptions
from s2s_ft.evaluation.sentences import plain_lines, split_sentences
from s2s_ft.evaluation.words import UnicodeTokenizer

TITLES = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
}


class Tokenizer(Protocol):
    """What rouge-score asks of a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        """Split a text into the words that are compared."""


def load_tokenizer(name: RougeTokenizer, *, stem: bool) -> Tokenizer:
    """Make the tokenizer that `--tokenizer` names."""
    if name == "unicode":
        return UnicodeTokenizer(stem=stem)
    from rouge_score import tokenizers

    default: Tokenizer = tokenizers.DefaultTokenizer(stem)
    return default


def rouge_scores(
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    stem: bool = True,
    tokenizer: RougeTokenizer = "unicode",
    lines_only: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """Score each prediction against its reference.

    Args:
        predictions: N texts; an empty one scores 0. `[X_SEP]` counts as a line break.
        references: N texts, in the same order.
        stem: Compare the stems of English words.
        tokenizer: ``unicode`` for any script, ``default`` for rouge-score's own.
        lines_only: Sentences for ROUGE-Lsum are the lines as they are, a single one included.

    Returns:
        For each of rouge1, rouge2, rougeL and rougeLsum: the F1 under that name, and under the
        name with ``_precision`` and ``_recall`` the two it is made of; [N] float64, 0 to 1.

    Raises:
        ValueError: The numbers of predictions and references differ.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(list(TITLES), tokenizer=load_tokenizer(tokenizer, stem=stem))
    rows = np.zeros((len(TITLES), 3, len(references)))
    split = plain_lines if lines_only else _one_sentence_a_line
    pairs = zip(predictions, references, strict=True)
    # The bar shows only where long texts take their time.
    bar = tqdm(pairs, "ROUGE", len(references), leave=False, disable=None, delay=2)
    for index, (prediction, reference) in enumerate(bar):
        scores = scorer.score(split(reference), split(prediction))
        rows[:, :, index] = [
            (scores[name].fmeasure, scores[name].precision, scores[name].recall) for name in TITLES
        ]
    parts = ("", "_precision", "_recall")
    return {
        name + part: rows[row, column]
        for row, name in enumerate(TITLES)
        for column, part in enumerate(parts)
    }


def measure_rouge(
    predictions: Sequence[str],
    references: Sequence[str],
    scoring: ScoringOptions,
    *,
    lines_only: bool = False,
) -> tuple[Measure, ...]:
    """ROUGE-1, -2, -L and -Lsum of each example, F1, precision and recall; see `rouge_scores`."""
    each = rouge_scores(
        predictions,
        references,
        stem=not scoring.no_stemmer,
        tokenizer=scoring.tokenizer,
        lines_only=lines_only,
    )
    return tuple(
        Measure(
            key=name,
            title=title,
            signature=signature(name, scoring, lines_only=lines_only),
            statistics=np.stack(
                [each[name], each[f"{name}_precision"], each[f"{name}_recall"]], axis=1
            ),
            combine=means,
        )
        for name, title in TITLES.items()
    )


def signature(name: str, scoring: ScoringOptions, *, lines_only: bool = False) -> str:
    """What one must know to compute a ROUGE score again, such as ``rougeL|nrefs:1|stem:yes|…``."""
    parts = [
        name,
        "nrefs:1",
        f"bs:{scoring.num_bootstrap}",
        f"seed:{scoring.seed}",
        f"stem:{'no' if scoring.no_stemmer else 'yes'}",
        f"tok:{'unicode' if scoring.tokenizer == 'unicode' else 'rouge-score'}",
    ]
    if name == "rougeLsum":
        parts.append("split:lines" if lines_only else "split:lines-else-rules")
    return "|".join([*parts, f"version:rouge-score-{version('rouge-score')}"])


def _one_sentence_a_line(text: str) -> str:
    return "\n".join(split_sentences(text))
