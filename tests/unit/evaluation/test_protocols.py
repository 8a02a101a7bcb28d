"""Protocols: what each switch does to rows made by hand, and what a protocol switches on."""

import pytest

from s2s_ft.evaluation.options import ProtocolOptions, ScoringOptions
from s2s_ft.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    first_words_of,
    prepare_prediction,
    prepare_reference,
    scoring_for,
    settle,
    without_repeats,
)
from s2s_ft.evaluation.run import evaluate

SUMMARY = (
    "one two three four five [X_SEP] too short [X_SEP] one two three four nine [X_SEP] ( a b c )"
)


def prepared(**switches: object) -> list[str]:
    protocol = Protocol(sentences="lines", **switches)  # type: ignore[arg-type]
    return prepare_prediction(SUMMARY, protocol).split("\n")


def test_plain_leaves_texts_alone() -> None:
    assert prepare_prediction(SUMMARY, PROTOCOLS["plain"]) == SUMMARY
    assert prepare_reference(SUMMARY, PROTOCOLS["plain"]) == SUMMARY


def test_each_switch_by_itself() -> None:
    first, second, third, fourth = SUMMARY.split(" [X_SEP] ")
    assert prepared() == [first, second, third, fourth]
    assert prepared(drop_short=2) == [first, third, fourth]
    # Four of the five words stood before: 0.8.
    assert prepared(duplicate_rate=0.7) == [first, second, fourth]
    assert prepared(duplicate_rate=0.8) == [first, second, third, fourth]
    assert prepared(trunc_len=6) == [first, "too"]
    assert prepared(brackets="round") == [first, second, third, "-LRB- a b c -RRB-"]


@pytest.mark.parametrize("drop_short", [0, 4])
def test_tokens_are_put_together_before_sentences_end_at_them(drop_short: int) -> None:
    tokens = "the army of the u . s . paid 3 . 5 million dollars . we do n ' t know . . . why ."
    written = "the army of the u.s. paid 3.5 million dollars . we do n't know ... why ."
    protocol = Protocol(sentences="rules", rejoin_tokens=True, drop_short=drop_short)
    found = prepare_prediction(tokens, protocol)
    assert found == prepare_prediction(written, protocol)
    assert ("paid 3.5 million dollars ." in found, "why ." in found) == (True, drop_short == 0)


def test_cnn_dm_does_all_of_it_to_predictions_and_only_spells_references() -> None:
    lines = SUMMARY.split(" [X_SEP] ")
    protocol = settle(ProtocolOptions(protocol="cnndm"))
    assert prepare_prediction(SUMMARY, protocol).split("\n") == [lines[0], "-LRB- a b c -RRB-"]
    assert prepare_reference(SUMMARY, protocol).split("\n") == [*lines[:3], "-LRB- a b c -RRB-"]


def test_a_prediction_of_short_sentences_only_is_empty() -> None:
    assert prepare_prediction("a b [X_SEP] c", PROTOCOLS["cnndm"]) == ""


def test_words_are_counted_over_sentences() -> None:
    assert first_words_of(["a b", "c d", "e"], 3) == ["a b", "c"]
    assert first_words_of(["a b"], 9) == ["a b"]
    assert without_repeats(["A b", "a B", "c"], 0.7) == ["A b", "c"]


def test_xsum_is_one_sentence() -> None:
    assert prepare_prediction("A b. [X_SEP] C ( d )", PROTOCOLS["xsum"]) == "A b. C -LRB- d -RRB-"
    report = evaluate(["a b. c d."], ["c d. a b."], protocol=ProtocolOptions(protocol="xsum"))
    assert report.value("rougeLsum") == pytest.approx(report.value("rougeL"))
    assert report.value("rougeL") < 100


def test_a_switch_wins_over_its_protocol() -> None:
    protocol = settle(ProtocolOptions(protocol="cnndm", trunc_len=0, rejoin_tokens="off"))
    assert (protocol.trunc_len, protocol.rejoin_tokens, protocol.drop_short) == (0, False, 4)
    assert settle(ProtocolOptions(trunc_len=3)).trunc_len == 3


def test_one_line_of_cnn_dm_is_one_sentence() -> None:
    text = ["a b c d e. f g h i j."], ["f g h i j. a b c d e."]
    rules = evaluate(*text, ScoringOptions(num_bootstrap=2))
    lines = evaluate(*text, ScoringOptions(num_bootstrap=2), ProtocolOptions(protocol="cnndm"))
    assert rules.value("rougeLsum") == pytest.approx(100)
    assert lines.value("rougeLsum") == pytest.approx(50)
    assert "split:lines|" in lines.scores[3].signature


def test_questions_take_no_switches_of_summaries() -> None:
    with pytest.raises(ValueError, match=r"--protocol qg.*--trunc_len"):
        settle(ProtocolOptions(protocol="qg", trunc_len=3))


def test_xglue_ignores_case() -> None:
    scoring = scoring_for(PROTOCOLS["xglue_ntg"], ScoringOptions())
    assert (scoring.lowercase, scoring.bleu_tokenizer) == (True, "13a")
    assert scoring_for(PROTOCOLS["cnndm"], ScoringOptions()) == ScoringOptions()
    report = evaluate(["A B C D"], ["a b c d"], protocol=ProtocolOptions(protocol="xglue_ntg"))
    assert [(score.key, round(score.estimate.value)) for score in report.scores] == [("bleu", 100)]
    assert "case:lc" in report.scores[0].signature
