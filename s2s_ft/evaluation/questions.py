"""BLEU-4, METEOR and ROUGE-L of generated questions, as papers on question generation report them.

All questions that the test set asks of one source sentence are references of every prediction for
it. Notable: the published scripts keep one prediction a source sentence, the last one of the file;
ROUGE-L is that of image captioning (F with beta 1.2, precision and recall each the best of all
references), and BLEU-4 takes words at spaces, without smoothing.

Letters: N predictions that are scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU

from s2s_ft.evaluation import meteor
from s2s_ft.evaluation.bleu import sacrebleu_measure
from s2s_ft.evaluation.measures import Measure, means
from s2s_ft.evaluation.options import ProtocolOptions, ScoringOptions
from s2s_ft.evaluation.sentences import plain_lines
from s2s_ft.evaluation.spelling import penn_words

BETA = 1.2

Words = list[str]


@dataclass(frozen=True)
class Questions:
    """Predictions with all their references, in words.

    Attributes:
        predictions: N.
        references: The references of each, at least one, in the order of the file.
    """

    predictions: list[Words]
    references: list[list[Words]]


def group_by_source(
    predictions: Sequence[str],
    references: Sequence[str],
    sources: Sequence[str],
    *,
    every_prediction: bool = False,
) -> Questions:
    """Give every prediction all the references of its source sentence.

    Args:
        predictions: One question a row.
        references: One question a row.
        sources: The sentence each row asks of; spaces and case do not matter.
        every_prediction: Keep every row, not only the last one of each sentence.
    """
    keys = [" ".join(source.lower().split()) for source in sources]
    groups: dict[str, list[Words]] = {key: [] for key in keys}
    last: dict[str, int] = {}
    for row, (key, reference) in enumerate(zip(keys, references, strict=True)):
        groups[key].append(_words(reference))
        last[key] = row
    rows = range(len(keys)) if every_prediction else last.values()
    return Questions(
        [_words(predictions[row]) for row in rows], [groups[keys[row]] for row in rows]
    )


def measure_questions(
    questions: Questions, scoring: ScoringOptions, protocol: ProtocolOptions
) -> tuple[Measure, ...]:
    """BLEU-4, METEOR and ROUGE-L of questions.

    Raises:
        EnvironmentFault: METEOR's Java program was asked for and does not run.
    """
    bleu = BLEU(tokenize="none", smooth_method="none", force=True)
    longest = max(len(each) for each in questions.references)
    streams = [
        [" ".join(each[n]) if n < len(each) else None for each in questions.references]
        for n in range(longest)
    ]
    texts = [" ".join(words) for words in questions.predictions]
    resampling = f"bs:{scoring.num_bootstrap}|seed:{scoring.seed}"
    which = "last" if not protocol.every_prediction else "every"
    return (
        sacrebleu_measure("bleu4", "BLEU-4", bleu, texts, streams, scoring),
        _meteor(questions, protocol, resampling),
        Measure(
            key="rougeL_f1.2",
            title="ROUGE-L",
            signature=f"rougeL|nrefs:var|pred:{which}|{resampling}|beta:{BETA}|tok:penn",
            statistics=np.asarray(
                [
                    [rouge_l(prediction, references)]
                    for prediction, references in zip(
                        questions.predictions, questions.references, strict=True
                    )
                ]
            ),
            combine=means,
        ),
    )


def rouge_l(prediction: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """ROUGE-L of image captioning, 0 to 1: best precision and best recall, weighted for recall."""
    lengths = [common_lengths(prediction, reference)[-1] for reference in references]
    if not prediction or not max(lengths):
        return 0.0
    precision = max(lengths) / len(prediction)
    recall = max(n / max(len(r), 1) for n, r in zip(lengths, references, strict=True))
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def common_lengths(one: Sequence[str], other: Sequence[str]) -> list[int]:
    """Length of the longest common subsequence of every prefix, the empty one too, with another."""
    row = [0] * (len(other) + 1)
    lengths = [0]
    for word in one:
        above = row
        row = [0]
        for column, target in enumerate(other):
            longest = above[column] + 1 if word == target else max(above[column + 1], row[-1])
            row.append(longest)
        lengths.append(row[-1])
    return lengths


def _words(text: str) -> Words:
    return penn_words(plain_lines(text).replace("\n", " "))


def _meteor(questions: Questions, protocol: ProtocolOptions, resampling: str) -> Measure:
    if protocol.meteor_jar is not None:
        counts = meteor.run_jar(protocol.meteor_jar, questions.predictions, questions.references)
        stages = "java-1.5"
    else:
        pairs = zip(questions.predictions, questions.references, strict=True)
        counts = np.stack([meteor.meteor_counts(*pair) for pair in pairs])
        stages = "exact+stem+synonym" if meteor.has_wordnet() else "exact+stem"
    return Measure(
        key="meteor",
        title="METEOR",
        signature=f"meteor-1.5|stages:{stages}|a:.85|b:.2|g:.6|d:.75|{resampling}",
        statistics=counts,
        combine=partial(_meteor_column, meteor.METEOR_1_5),
    )


def _meteor_column(
    parameters: meteor.MeteorParameters, totals: NDArray[np.float64], _num_examples: int
) -> NDArray[np.float64]:
    return 100 * meteor.meteor_of(totals, parameters)[:, None]
