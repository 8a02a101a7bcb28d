"""METEOR: alignments against all there are, the 2007 formula against nltk's, and the counts."""

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from nltk.translate.meteor_score import meteor_score

from s2s_ft.cli import EnvironmentFault
from s2s_ft.evaluation.alignment import align
from s2s_ft.evaluation.meteor import (
    MeteorParameters,
    meteor_counts,
    meteor_of,
    run_jar,
    stage_of,
)
from s2s_ft.evaluation.spelling import penn_words

# Lavie & Agarwal 2007, which nltk computes: every word and every match counts the same.
METEOR_2007 = MeteorParameters(0.9, 3.0, 0.5, 0.5, (1.0, 1.0, 1.0, 1.0))


class NoWordNet:
    """What nltk's METEOR asks WordNet for."""

    def synsets(self, word: str) -> list[str]:
        return []


def all_matchings(one: list[str], other: list[str]) -> Iterator[list[tuple[int, int]]]:
    choices = [[None, *(j for j, w in enumerate(other) if w == word)] for word in one]
    for picked in product(*choices):
        used = [j for j in picked if j is not None]
        if len(set(used)) == len(used):
            yield [(i, j) for i, j in enumerate(picked) if j is not None]


def chunks_of(pairs: list[tuple[int, int]]) -> int:
    return sum((i - 1, j - 1) not in pairs for i, j in pairs)


def test_alignments_are_the_best_of_all() -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        one, other = (list(random.choice(list("abcd"), size=random.integers(1, 7))) for _ in "ab")
        matches, num_chunks = align(one, other, lambda a, b: 0 if a == b else None)
        pairs = [match[:2] for match in matches]
        best = min((-len(each), chunks_of(each)) for each in all_matchings(one, other))
        assert (-len(pairs), chunks_of(pairs)) == best
        assert num_chunks == best[1]


def test_real_text_scores_as_in_nltk(debsum: tuple[list[str], list[str]]) -> None:
    pairs = [(penn_words(s)[:12], penn_words(t)) for s, t in zip(*debsum, strict=True)]
    ours, theirs = [], []
    for number, (source, target) in enumerate(pairs[:120]):
        targets = [target, pairs[number + 1][1]]
        counts = meteor_counts(source, targets, METEOR_2007)
        ours.append(meteor_of(counts[None], METEOR_2007)[0])
        theirs.append(meteor_score(targets, source, wordnet=NoWordNet()))
    gaps = np.abs(np.asarray(ours) - theirs)
    # The two stem by different rules, and nltk takes the first alignment it meets.
    assert (gaps < 1e-9).mean() > 0.7
    assert abs(np.mean(ours) - np.mean(theirs)) < 0.01


def test_counts_of_a_pair_worked_out_by_hand() -> None:
    counts = meteor_counts(
        ["a", "cat", "is", "on", "the", "mat"], [["the", "cat", "sat", "on", "the", "mat"]]
    )
    assert counts[:4].tolist() == [6, 6, 4, 3]
    assert counts[4:8].tolist() == [2, 2, 2, 2]
    assert counts[20:].tolist() == [2, 4, 4]
    precision = (0.75 * 2 + 0.25 * 2) / (0.75 * 2 + 0.25 * 4)
    recall = (0.75 * 2 + 0.25 * 2) / (0.75 * 3 + 0.25 * 3)
    mean = precision * recall / (0.85 * precision + 0.15 * recall)
    expected = mean * (1 - 0.6 * (2 / 4) ** 0.2)
    assert meteor_of(counts[None])[0] == pytest.approx(expected)


def test_equal_texts_score_one_and_strange_ones_nothing() -> None:
    words = ["what", "is", "it", "?"]
    assert meteor_of(meteor_counts(words, [words])[None])[0] == pytest.approx(1)
    assert meteor_of(meteor_counts(words, [["x"], ["y"]])[None])[0] == 0
    assert meteor_of(meteor_counts([], [["x"]])[None])[0] == 0


def test_stems_match_after_words() -> None:
    assert (stage_of("file", "file"), stage_of("files", "file")) == (0, 1)
    assert stage_of("xyzzy", "plugh") is None


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program by that name, to be written by the test, which writes down what it is asked."""
    program = tmp_path / "java"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return program


@pytest.fixture
def jar(tmp_path: Path) -> str:
    """A file that a program could be in."""
    (tmp_path / "meteor-1.5.jar").touch()
    return str(tmp_path / "meteor-1.5.jar")


def write_program(path: Path, end: str) -> None:
    path.write_text(f'#!/bin/sh\ncat > "{path}.asked"\n{end}\n')
    path.chmod(0o755)


def test_the_java_program_is_asked_line_by_line(java: Path, jar: str) -> None:
    counts = "2.0 2.0 0.0 0.0 2.0 2.0 " + "0.0 " * 14 + "1.0 2.0 2.0"
    write_program(java, f'echo "{counts}"; echo "{counts}"')
    rows = run_jar(jar, [["a", "b"], ["c"]], [[["a", "b"], ["d"]], [["c", "|||"]]])
    asked = Path(f"{java}.asked").read_text(encoding="utf-8").splitlines()
    assert [" ".join(line.split()) for line in asked] == [
        "SCORE ||| a b ||| d ||| a b",
        "SCORE ||| c ||| c",
    ]
    assert rows.shape == (2, 23)
    assert meteor_of(rows).tolist() == [1, 1]


@pytest.mark.parametrize("end", ["echo no such file >&2; exit 1", "echo 1 2 3", ""])
def test_a_java_program_that_fails_is_named(java: Path, jar: str, end: str) -> None:
    write_program(java, end)
    with pytest.raises(EnvironmentFault, match=r"--meteor_jar .*: the program failed"):
        run_jar(jar, [["a"]], [[["a"]]])


def test_java_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, jar: str) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(EnvironmentFault, match="--meteor_jar needs Java"):
        run_jar(jar, [["a"]], [[["a"]]])


def test_a_jar_that_is_not_there_is_the_users_fault() -> None:
    with pytest.raises(ValueError, match=r"--meteor_jar nope\.jar: there is no such file"):
        run_jar("nope.jar", [["a"]], [[["a"]]])
