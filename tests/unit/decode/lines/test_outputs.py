"""Output files: one line an example, in order, whole or not at all."""

import json

import pytest

from s2s_ft.decode.lines.outputs import hypothesis_row, json_line, one_line
from s2s_ft.decode.search.hypotheses import Hypothesis


@pytest.mark.parametrize("break_", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_no_kind_of_line_break_gets_out(break_):
    assert one_line(f"a{break_}b") == "a [X_SEP] b"
    assert len(one_line(f"a{break_}b").splitlines()) == 1


TWO = [
    Hypothesis((5, 6), -0.5, -0.6, True, (-0.1, -0.2, -0.3)),
    Hypothesis((7,), -2.0, -2.1, False, (-2.1,)),
]


def test_json_line_holds_every_hypothesis():
    rows = [
        hypothesis_row(each, text, None) for each, text in zip(TWO, ["größe", "y"], strict=True)
    ]
    best = {"text": "größe", "score": -0.5, "log_probability": -0.6, "tokens": 2, "finished": True}
    cut = {"text": "y", "score": -2.0, "log_probability": -2.1, "tokens": 1, "finished": False}
    assert json.loads(json_line(4, rows)) == {"index": 4, "hypotheses": [best, cut]}
    assert "größe" in json_line(4, rows)


@pytest.mark.parametrize("label", ["x", 5, 0, "", [1], {"a": None}])
def test_a_label_comes_back_as_it_was(label):
    assert json.loads(json_line(4, [], label))["id"] == label
    assert "id" not in json.loads(json_line(4, []))


def test_tokens_come_with_their_probabilities():
    row = hypothesis_row(TWO[0], "a b", ["a", "b", "#"])
    assert row["token_strings"] == ["a", "b", "#"]
    assert row["token_log_probabilities"] == [-0.1, -0.2, -0.3]
    assert row["tokens"] == 2


def test_an_empty_source_still_has_a_first_hypothesis():
    row = json.loads(json_line(0, []))
    assert row["hypotheses"] == [
        {"text": "", "score": None, "log_probability": None, "tokens": 0, "finished": True}
    ]
