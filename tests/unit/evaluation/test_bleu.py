"""BLEU and chrF: sacrebleu's numbers and signatures."""

import pytest
from sacrebleu.metrics import BLEU, CHRF

from s2s_ft.evaluation.bleu import (
    bleu_tokenizer_for,
    measure_bleu_and_chrf,
    sacrebleu_measure,
)
from s2s_ft.evaluation.options import ScoringOptions
from s2s_ft.evaluation.scores import Score


def score_bleu_and_chrf(
    predictions: list[str], references: list[str], scoring: ScoringOptions
) -> list[Score]:
    return [
        measure.score(num_bootstrap=scoring.num_bootstrap, seed=scoring.seed)
        for measure in measure_bleu_and_chrf(predictions, references, scoring)
    ]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("tokenizer", ["auto", "13a", "intl", "char"])
def test_scores_are_those_of_sacrebleu(
    debsum: tuple[list[str], list[str]], tokenizer: str, lowercase: bool
) -> None:
    sources, references = debsum
    scoring = ScoringOptions(bleu_tokenizer=tokenizer, lowercase=lowercase, num_bootstrap=10)
    ours = score_bleu_and_chrf(sources, references, scoring)
    direct = BLEU(tokenize="13a" if tokenizer == "auto" else tokenizer, lowercase=lowercase)
    for score, metric in zip(ours, (direct, CHRF(lowercase=lowercase)), strict=True):
        expected = metric.corpus_score(sources, [references], n_bootstrap=10).score
        assert score.estimate.value == expected > 0
        metric.seed = "42"
        assert score.signature == metric.get_signature().format()


def test_intervals_agree_with_those_of_sacrebleu(debsum: tuple[list[str], list[str]]) -> None:
    sources, references = debsum
    ours = score_bleu_and_chrf(sources, references, ScoringOptions())
    for score, metric in zip(ours, (BLEU(), CHRF()), strict=True):
        theirs = metric.corpus_score(sources, [references], n_bootstrap=1000)
        half_width = (score.estimate.high - score.estimate.low) / 2
        assert half_width == pytest.approx(theirs._ci, rel=0.15)
        assert score.estimate.low < score.estimate.value < score.estimate.high


@pytest.mark.parametrize("second", [["b a", "c", "x y"], ["b a", None, "x y"]])
def test_pieces_are_as_good_as_the_whole(
    second: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2s_ft.evaluation.bleu.TEXTS_AT_ONCE", 2)
    texts, references = ["a b", "c d", "x y z"], [["a b c", "c d", "x"], second]
    metric, whole = CHRF(), CHRF()
    ours = sacrebleu_measure("chrf", "chrF", metric, texts, references, ScoringOptions())
    theirs = whole.corpus_score(texts, references, n_bootstrap=1)
    assert ours.values() == [theirs.score]
    assert ours.signature.split("|")[0] == whole.get_signature().format().split("|")[0]


@pytest.mark.parametrize(
    ("reference", "tokenizer"),
    [
        ("a library for reading files", "13a"),
        ("чтение и запись архивов", "13a"),
        ("我们在北京学习 Python 语言", "zh"),
        ("DVD ドライブの地域コードの表示と修正", "char"),
        ("MPlayer 및 mpv를 위한 완전한 프론트엔드", "char"),
        ("ภาษาไทยง่าย", "char"),
        ("a note on the kanji 漢", "13a"),
        ("", "13a"),
    ],
)
def test_the_tokenizer_follows_the_script(reference: str, tokenizer: str) -> None:
    assert bleu_tokenizer_for([reference] * 2) == tokenizer
    bleu, _ = score_bleu_and_chrf([reference], [reference], ScoringOptions(num_bootstrap=2))
    assert f"|tok:{tokenizer}|" in bleu.signature


def test_chinese_is_not_one_word() -> None:
    bleu, chrf = score_bleu_and_chrf(
        ["我们在北京大学学习语言"], ["他们在北京大学学习语言"], ScoringOptions(num_bootstrap=2)
    )
    assert bleu.estimate.value > 50
    assert chrf.estimate.value > 50


def test_line_breaks_do_not_count() -> None:
    scoring = ScoringOptions(num_bootstrap=2)
    for score in score_bleu_and_chrf(["a b c d [X_SEP] e f"], ["a b c d\ne f"], scoring):
        assert score.estimate.value == pytest.approx(100)
