"""BLEU and chrF through sacrebleu, with sacrebleu's own signatures.

Notable: intervals come from resampling each example's counts of matching n-grams, which sacrebleu
sums up itself for its corpus scores; nothing is tokenised twice. sacrebleu's own bootstrap
draws from the same counts, but gives mean and half-width only and holds all resamples in
memory.

Letters: N examples, R resamples, S statistics of an example.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from s2s_ft.cli import EnvironmentFault
from s2s_ft.evaluation.measures import Measure
from s2s_ft.evaluation.options import ScoringOptions
from s2s_ft.evaluation.sentences import plain_lines
from s2s_ft.evaluation.words import CONTINUOUS

TEXTS_AT_ONCE = 512
"""Texts whose n-grams are in memory together."""

# From this share of a script among the letters of the references on, its rules are taken.
# Technical text in Chinese or Japanese is full of Latin names, and each of those has several
# letters for one character.
_SCRIPT_SHARE = 0.3
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff]")


def bleu_tokenizer_for(references: Sequence[str]) -> str:
    """Choose sacrebleu's tokenizer by the script of the references.

    Returns:
        ``zh`` for Chinese; ``char`` for Japanese, Korean, Thai and other scripts without spaces;
        ``13a`` for everything else.
    """
    text = "".join(references)
    num_han = len(_HAN.findall(text))
    by_character = len(CONTINUOUS.findall(text)) + len(_HANGUL.findall(text))
    if by_character <= _SCRIPT_SHARE * sum(character.isalpha() for character in text):
        return "13a"
    # Chinese has next to no Kana; Japanese has more Kana than Han.
    return "zh" if num_han > 0.9 * by_character else "char"


def measure_bleu_and_chrf(
    predictions: Sequence[str], references: Sequence[str], scoring: ScoringOptions
) -> tuple[Measure, Measure]:
    """Count the matches of BLEU and chrF in each example.

    Args:
        predictions: N texts.
        references: N texts, in the same order.
        scoring: Tokenizer, case and resampling.

    Raises:
        EnvironmentFault: The tokenizer asked for needs a package that is not installed.
    """
    hypotheses = [plain_lines(text).replace("\n", " ") for text in predictions]
    targets = [plain_lines(text).replace("\n", " ") for text in references]
    chrf = CHRF(lowercase=scoring.lowercase)
    return (
        sacrebleu_measure("bleu", "BLEU", _bleu(scoring, targets), hypotheses, [targets], scoring),
        sacrebleu_measure("chrf", "chrF2", chrf, hypotheses, [targets], scoring),
    )


def _bleu(scoring: ScoringOptions, references: Sequence[str]) -> BLEU:
    name = scoring.bleu_tokenizer
    tokenizer = bleu_tokenizer_for(references) if name == "auto" else name
    try:
        # `force` only silences a hint at texts with a space before full stops, as BERT's have.
        return BLEU(lowercase=scoring.lowercase, tokenize=tokenizer, force=True)
    except (ImportError, RuntimeError) as error:
        extra = f"sacrebleu[{tokenizer.split('-')[0]}]"
        raise EnvironmentFault(
            f"--bleu_tokenizer {tokenizer} needs a package that is missing: "
            f"run `pip install '{extra}'` or choose another tokenizer"
        ) from error


def sacrebleu_measure(
    key: str,
    title: str,
    metric: Metric,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[Any]],
    scoring: ScoringOptions,
) -> Measure:
    """A measure of one of sacrebleu's metrics.

    Args:
        key: Name in the JSON file.
        title: Name in the table.
        metric: sacrebleu's metric, with its settings.
        hypotheses: N texts.
        references: Streams of N texts; None where an example has fewer references.
        scoring: Number and seed of the resamples, for the signature.
    """
    statistics = _statistics(metric, hypotheses, references)
    # The signature tells of the resampling where these two are set.
    metric.n_bootstrap, metric.seed = scoring.num_bootstrap, str(scoring.seed)
    signature = metric.get_signature().format()
    counts = np.asarray(statistics, dtype=np.float64)
    return Measure(key, title, signature, counts, partial(_corpus_scores, metric))


def _statistics(
    metric: Metric, hypotheses: Sequence[str], references: Sequence[Sequence[Any]]
) -> list[list[int]]:
    """The counts of each text; piece by piece, as sacrebleu holds all n-grams of all references."""
    found: list[list[int]] = []
    numbers = set()
    for start in range(0, len(hypotheses), TEXTS_AT_ONCE):
        piece = slice(start, start + TEXTS_AT_ONCE)
        # sacrebleu has no public way to the statistics; its own significance tests take this one.
        texts, streams = hypotheses[piece], [stream[piece] for stream in references]
        found.extend(metric._extract_corpus_statistics(texts, streams))
        numbers.add(metric.num_refs)
    metric.num_refs = numbers.pop() if len(numbers) == 1 else -1  # as of all texts together
    return found


def _corpus_scores(
    metric: Metric, totals: NDArray[np.float64], _num_examples: int
) -> NDArray[np.float64]:
    """sacrebleu's score of each row of [R, S] sums, as [R, 1]."""
    rows = totals.astype(int).tolist()
    return np.asarray([[metric._compute_score_from_stats(row).score] for row in rows])
