"""METEOR 1.5 (Denkowski & Lavie 2014) of texts that are cut into words, as counts that add up.

Notable: words are matched in the stages exact, stem (Snowball) and, where nltk has WordNet's data,
synonym, with the published weights and parameters; the paraphrase tables belong to the Java program
and are left out, so scores without them are lower. `run_jar` takes the counts from that
program, whose numbers papers report; the formula that makes a score of the counts is the same.

The 23 counts of a pair, in the program's order: words and function words of prediction and
reference; for each of four stages the matched content words of both and function words of both;
chunks; matched words of both. Letters: N examples, R resamples, S = 23 counts.
"""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2s_ft.cli import EnvironmentFault
from s2s_ft.evaluation.alignment import align

NUM_COUNTS = 23

# Words of closed classes; the program has a list of its own, counted in a corpus.
_FUNCTION_WORDS = """
a an the this that these those i you he she it we they me him her us them my your his its our
their what which who whom whose when where why how and or but nor if than as because while of in
on at by for with from to into about after before over under between during through against
among per up down out off not n't no all any both each more most some such other only own same
so too very just also then there here is are was were be been being am do does did has have
had having will would can could shall should may might must 's 'm 're 've 'll 'd s t one two
new said . , ; : ? ! - -- ( ) ' '' `` " -lrb- -rrb- % $ & /
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())


@dataclass(frozen=True)
class MeteorParameters:
    """How counts become a score; the defaults are those published for English.

    Attributes:
        alpha: Weight of recall against precision.
        beta: Exponent of the share of chunks.
        gamma: Largest penalty for matches out of order.
        delta: Weight of content words against function words.
        weights: Of a match in each stage: exact, stem, synonym, paraphrase.
    """

    alpha: float = 0.85
    beta: float = 0.2
    gamma: float = 0.6
    delta: float = 0.75
    weights: tuple[float, float, float, float] = (1.0, 0.6, 0.8, 0.6)


METEOR_1_5 = MeteorParameters()


def meteor_counts(
    prediction: Sequence[str],
    references: Sequence[Sequence[str]],
    parameters: MeteorParameters = METEOR_1_5,
) -> NDArray[np.float64]:
    """The counts [S] of a prediction against the one of its references that scores best."""
    rows = np.stack([_pair_counts(prediction, reference) for reference in references])
    rows = _whole_texts_unbroken(rows)
    best = int(meteor_of(rows, parameters).argmax())
    return np.asarray(rows[best])


def meteor_of(
    totals: NDArray[np.float64], parameters: MeteorParameters = METEOR_1_5
) -> NDArray[np.float64]:
    """The score of each row of counts.

    Args:
        totals: [R, S] float64, counts of a pair or their sums over many.
        parameters: Of the formula.

    Returns:
        [R] float64, 0 to 1; 0 where nothing matches.
    """
    content, function = parameters.delta, 1 - parameters.delta
    shares = []
    for side in (0, 1):  # prediction, reference
        words, function_words = totals[:, side], totals[:, 2 + side]
        matched = sum(
            weight
            * (
                content * totals[:, 4 + 4 * stage + side]
                + function * totals[:, 6 + 4 * stage + side]
            )
            for stage, weight in enumerate(parameters.weights)
        )
        length = content * (words - function_words) + function * function_words
        shares.append(matched / np.maximum(length, 1e-12))
    precision, recall = shares
    mixed = parameters.alpha * precision + (1 - parameters.alpha) * recall
    mean = precision * recall / np.maximum(mixed, 1e-12)
    matches = (totals[:, 21] + totals[:, 22]) / 2
    fragments = totals[:, 20] / np.maximum(matches, 1e-12)
    penalty = parameters.gamma * fragments**parameters.beta
    return np.where(matches > 0, (1 - penalty) * mean, 0)


def _whole_texts_unbroken(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts [N, S] without the chunk of pairs that one chunk covers: it is no fragment."""
    whole = (rows[:, 20] == 1) & (rows[:, 21:23] == rows[:, :2]).all(axis=1)
    rows[whole, 20] = 0
    return rows


def _pair_counts(prediction: Sequence[str], reference: Sequence[str]) -> NDArray[np.float64]:
    counts = np.zeros(NUM_COUNTS)
    for side, words in enumerate((prediction, reference)):
        counts[side] = len(words)
        counts[2 + side] = sum(word in FUNCTION_WORDS for word in words)
    matched, chunks = align(prediction, reference, stage_of)
    for left, right, stage in matched:
        for side, word in enumerate((prediction[left], reference[right])):
            counts[4 + 4 * stage + 2 * (word in FUNCTION_WORDS) + side] += 1
    counts[20:] = chunks, len(matched), len(matched)
    return counts


@lru_cache(maxsize=1 << 17)
def stage_of(one: str, other: str) -> int | None:
    """The first stage in which two words match: 0 exact, 1 stem, 2 synonym; None for none."""
    if one == other:
        return 0
    if _stem(one) == _stem(other):
        return 1
    return 2 if _synsets(one) & _synsets(other) else None


@lru_cache(maxsize=1 << 17)
def _stem(word: str) -> str:
    return _stemmer()(word)


@cache
def _stemmer() -> Callable[[str], str]:
    from nltk.stem.snowball import SnowballStemmer

    stem: Callable[[str], str] = SnowballStemmer("english").stem
    return stem


@cache
def has_wordnet() -> bool:
    """Whether nltk has WordNet's data on this machine; nothing is downloaded."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return False
    return True


@lru_cache(maxsize=1 << 17)
def _synsets(word: str) -> frozenset[str]:
    if not has_wordnet():
        return frozenset()
    from nltk.corpus import wordnet

    return frozenset(synset.name() for synset in wordnet.synsets(word))


def run_jar(
    jar: str, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> NDArray[np.float64]:
    """The counts [N, S] that the Java program of METEOR 1.5 finds, normalising as `-norm` does.

    Args:
        jar: Path of meteor-1.5.jar; its paraphrase tables lie beside it.
        predictions: N texts in words.
        references: The references of each, one or more.

    Raises:
        ValueError: There is no such file.
        EnvironmentFault: There is no Java, or the program fails.
    """
    if not Path(jar).is_file():
        raise ValueError(f"--meteor_jar {jar}: there is no such file; check the path")
    if shutil.which("java") is None:
        raise EnvironmentFault("--meteor_jar needs Java: install it or leave the flag out")
    lines = [
        " ||| ".join(["SCORE", *(_plain(each) for each in targets), _plain(prediction)])
        for prediction, targets in zip(predictions, references, strict=True)
    ]
    command = ["java", "-Xmx2G", "-jar", jar, "-", "-", "-stdio", "-l", "en", "-norm"]
    done = subprocess.run(
        command,
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    if done.returncode or [len(row) for row in rows] != [NUM_COUNTS] * len(lines):
        last = (done.stderr.strip() or "it printed no counts").splitlines()[-1]
        raise EnvironmentFault(f"--meteor_jar {jar}: the program failed ({last}); check the file")
    return _whole_texts_unbroken(np.asarray(rows, dtype=np.float64))


def _plain(words: Sequence[str]) -> str:
    return " ".join(words).replace("|||", " ")
