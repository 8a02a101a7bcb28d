"""Question generation: references by source sentence, and scores against slow ones written anew."""

import json
import math
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from nltk.translate.bleu_score import corpus_bleu

from s2s_ft.evaluation.options import ProtocolOptions, ScoringOptions
from s2s_ft.evaluation.questions import (
    Questions,
    common_lengths,
    group_by_source,
    measure_questions,
    rouge_l,
)
from s2s_ft.evaluation.run import main

SCORING, PROTOCOL = ScoringOptions(num_bootstrap=5), ProtocolOptions(protocol="qg")


def ngrams(words: list[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(size)), strict=False))


def slow_bleu(questions: Questions) -> float:
    """BLEU-4 with the closest reference length, straight from its definition."""
    matches, grams, length, closest = [0] * 4, [0] * 4, 0, 0
    for words, targets in zip(questions.predictions, questions.references, strict=True):
        length += len(words)
        closest += min((abs(len(t) - len(words)), len(t)) for t in targets)[1]
        for size in range(1, 5):
            found = ngrams(words, size)
            most = Counter[tuple[str, ...]]()
            for target in targets:
                most |= ngrams(target, size)
            matches[size - 1] += sum((found & most).values())
            grams[size - 1] += sum(found.values())
    logs = [math.log(m / g) for m, g in zip(matches, grams, strict=True)]
    return 100 * math.exp(sum(logs) / 4 + min(0, 1 - closest / length))


def real_questions(debsum: tuple[list[str], list[str]]) -> Questions:
    sources = [text.split()[0] for text in debsum[1]]
    return group_by_source([text[:70] for text in debsum[0]], debsum[1], sources)


def test_all_questions_of_a_sentence_are_references_and_the_last_prediction_counts() -> None:
    rows = ["p1 ?", "p2 ?", "p3 ?"], ["r1", "r2", "r3"], ["A  sentence", "other", "a sentence"]
    last = group_by_source(*rows)
    assert last.predictions == [["p3", "?"], ["p2", "?"]]
    assert last.references == [[["r1"], ["r3"]], [["r2"]]]
    every = group_by_source(*rows, every_prediction=True)
    assert [words[0] for words in every.predictions] == ["p1", "p2", "p3"]
    assert every.references == [last.references[0], last.references[1], last.references[0]]


def test_real_text_scores_as_by_the_definitions(debsum: tuple[list[str], list[str]]) -> None:
    questions = real_questions(debsum)
    assert sum(len(targets) > 1 for targets in questions.references) > 5
    bleu, meteor, rouge = measure_questions(questions, SCORING, PROTOCOL)
    assert bleu.values()[0] == pytest.approx(slow_bleu(questions))
    assert 0 < meteor.values()[0] < 100
    each = [rouge_l(p, r) for p, r in zip(questions.predictions, questions.references, strict=True)]
    assert rouge.values()[0] == pytest.approx(100 * sum(each) / len(each))


def test_a_word_of_the_treebank_counts_as_one() -> None:
    references = [
        "when was dr. martin luther king jr. born ?",
        "what did apple inc. buy in jan. 2009 ?",
        "at 5 o'clock , does mr. smith wake ?",
    ]
    predictions = [
        "where did dr. martin king jr. grow up ?",
        "what did apple inc. sell in jan. 2009 ?",
        "when at 5 o'clock does mr. smith wake ?",
    ]
    questions = group_by_source(predictions, references, ["a", "b", "c"])
    expected = corpus_bleu([[r.split()] for r in references], [p.split() for p in predictions])
    bleu = measure_questions(questions, SCORING, PROTOCOL)[0]
    assert bleu.values()[0] == pytest.approx(100 * expected)


def test_common_length_is_that_of_the_longest_subsequence() -> None:
    one, other = list("abcbdab"), list("bdcaba")
    subsequences = {c for n in range(8) for c in combinations(other, n)}
    longest = max(len(c) for n in range(8) for c in combinations(one, n) if c in subsequences)
    assert common_lengths(one, other)[-1] == longest == 4
    assert common_lengths([], other) == [0]


def test_rouge_l_takes_the_best_precision_and_the_best_recall() -> None:
    # 2 of 2 words; 2 of 4 words of the one reference, 1 of 1 of the other.
    assert rouge_l(["a", "b"], [["a", "x", "b", "y"], ["a"]]) == pytest.approx(1)
    precision, recall = 0.5, 1 / 3
    expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(["a", "q"], [["a", "x", "y"]]) == pytest.approx(expected)
    assert rouge_l([], [["a"]]) == 0


def test_the_command_groups_by_the_key_it_is_given(tmp_path: Path) -> None:
    rows = [
        {"src": "s [SEP] a1", "sentence": "s", "tgt": "who wrote the old book ?"},
        {"src": "s [SEP] a2", "sentence": "s", "tgt": "what did the man write ?"},
    ]
    gold, pred = tmp_path / "gold.jsonl", tmp_path / "pred"
    gold.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pred.write_text("nothing\nWho wrote the old book?\n")
    command = ["--pred", str(pred), "--gold", str(gold), "--protocol", "qg"]
    command += ["--num_bootstrap", "2"]
    written = Path(f"{pred}.scores.json")
    main([*command, "--group_key", "sentence"])
    scores = json.loads(written.read_text())["scores"]
    assert [round(score["value"]) for score in scores.values()] == [100, 100, 100]
    main(command)  # by `src` each row is a group of its own, and the texts are swapped
    assert json.loads(written.read_text())["scores"]["rougeL_f1.2"]["value"] < 50
    with pytest.raises(ValueError, match=r"--protocol qg needs sources.*`nope`"):
        main([*command, "--group_key", "nope"])
