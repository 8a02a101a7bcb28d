"""ROUGE: rouge-score's numbers on English, sensible ones in every other script."""

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from s2s_ft.evaluation.options import ScoringOptions
from s2s_ft.evaluation.rouge import TITLES, measure_rouge, rouge_scores
from s2s_ft.evaluation.sentences import split_sentences

# A text, another one that shares about half of its words, and one that shares none.
SCRIPTS = {
    "chinese": ("我们在北京学习", "我们在上海工作", "天气很好啊"),
    "japanese": ("地域コードの表示と修正", "地域コードを設定", "ニャア"),
    "thai": ("ภาษาไทยง่าย", "ภาษาจีน", "ดฟห"),
    "russian": ("чтение и запись архивов", "чтение и создание файлов", "просмотр процессов"),
    "arabic": ("مكتبة لقراءة الملفات", "مكتبة لكتابة الملفات", "عرض العمليات"),
    "hindi": ("यह एक अच्छी किताब है", "यह एक बुरी किताब थी", "मौसम सुहावना"),
    "korean": (
        "플러그인을 가질 수 있는 모듈",
        "플러그인을 지원할 수 없는 모듈",
        "완전한 프론트엔드",
    ),
    "french": ("bibliothèque de données à accès", "bibliothèque d'accès à été", "où çà"),
    "english": ("tools for reading files", "tool that reads the files", "nothing common"),
}


@pytest.mark.parametrize("stem", [True, False])
def test_english_scores_are_those_of_rouge_score(
    debsum: tuple[list[str], list[str]], stem: bool
) -> None:
    pairs = [pair for pair in zip(*debsum, strict=True) if "".join(pair).isascii()]
    assert len(pairs) > 150
    ours = rouge_scores(*map(list, zip(*pairs, strict=True)), stem=stem)
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stem)
    summary = RougeScorer(["rougeLsum"], use_stemmer=stem)
    for index, (source, target) in enumerate(pairs):
        scores = theirs.score(target, source)
        # The library splits at newlines alone.
        lines = ["\n".join(split_sentences(text)) for text in (target, source)]
        scores |= summary.score(*lines)
        for name, score in scores.items():
            assert ours[name][index] == score.fmeasure
            assert ours[f"{name}_precision"][index] == score.precision
            assert ours[f"{name}_recall"][index] == score.recall


@pytest.mark.parametrize("texts", SCRIPTS.values(), ids=SCRIPTS)
def test_every_script_scores_by_its_own_words(texts: tuple[str, str, str]) -> None:
    text, similar, other = texts
    scores = rouge_scores([text, similar, other], [text] * 3)
    for name in TITLES:
        assert scores[name][0] == 1
        assert scores[name][2] == 0
    assert 0 < scores["rouge1"][1] < 1
    assert 0 < scores["rougeL"][1] < 1


def test_korean_is_compared_by_words_and_chinese_by_characters() -> None:
    korean = rouge_scores(["가나 다라"], ["가나 다마"])["rouge1"]
    chinese = rouge_scores(["北京大学"], ["北京医学"])["rouge1"]
    np.testing.assert_allclose([korean[0], chinese[0]], [0.5, 0.75])


def test_the_default_tokenizer_is_rouge_scores_own() -> None:
    assert rouge_scores(["чтение"], ["чтение"], tokenizer="default")["rouge1"] == [0]
    assert rouge_scores(["naïve"], ["na ve"], tokenizer="default")["rouge1"] == [1]


def test_the_sentence_mark_is_a_line_break_and_no_word() -> None:
    marked = rouge_scores(["a b [X_SEP] c d"], ["c d\na b"])
    assert marked["rouge1"] == [1]
    assert marked["rougeLsum"] == [1]
    assert marked["rougeL"] < 1


def test_empty_texts_score_zero() -> None:
    scores = rouge_scores(["", "a", "", "…"], ["a", "", "", "…"])
    assert all(not values.any() for values in scores.values())


def test_signatures_tell_what_was_done() -> None:
    scores = measure_rouge(["a"], ["a"], ScoringOptions(no_stemmer=True, num_bootstrap=7))
    assert scores[2].signature.startswith(
        "rougeL|nrefs:1|bs:7|seed:42|stem:no|tok:unicode|version:"
    )
    assert "split:" in scores[3].signature
    default = measure_rouge(["a"], ["a"], ScoringOptions(tokenizer="default"))
    assert "|stem:yes|tok:rouge-score|" in default[0].signature


def test_unequal_numbers_of_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="2 predictions for 1 references"):
        rouge_scores(["a", "b"], ["a"])
