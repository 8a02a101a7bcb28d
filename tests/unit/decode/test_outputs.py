"""Output files: one line an example, in order, whole or not at all."""

import json

import pytest

from s2s_ft.decode.beam_search import Hypothesis
from s2s_ft.decode.outputs import OrderedLines, json_line, one_line, write_lines


def test_lines_reach_the_file_in_index_order(tmp_path):
    path = tmp_path / "out"
    with OrderedLines(path, head="head") as lines:
        for index in (3, 0, 2, 1):
            lines.put(index, f"line {index} é")
        assert list(tmp_path.iterdir()) == []
    assert path.read_text(encoding="utf-8") == "head\nline 0 é\nline 1 é\nline 2 é\nline 3 é\n"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_the_older_file_alone(tmp_path):
    path = tmp_path / "out"
    path.write_text("older\n", encoding="utf-8")

    def fail_midway():
        with OrderedLines(path) as lines:
            lines.put(0, "newer")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_midway()
    assert path.read_text(encoding="utf-8") == "older\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_write_leaves_nothing(tmp_path):
    def lines():
        yield "first"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_lines(tmp_path / "out", lines())
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_made(tmp_path):
    with OrderedLines(tmp_path / "a" / "b" / "out") as lines:
        lines.put(0, "x")
    assert (tmp_path / "a" / "b" / "out").read_text(encoding="utf-8") == "x\n"


def test_a_place_that_is_no_folder_is_known_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError):  # noqa: PT011 what is said is the system's
        OrderedLines(tmp_path / "file" / "out")


@pytest.mark.parametrize("break_", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_no_kind_of_line_break_gets_out(break_):
    assert one_line(f"a{break_}b") == "a [X_SEP] b"
    assert len(one_line(f"a{break_}b").splitlines()) == 1


def test_json_line_holds_every_hypothesis():
    hypotheses = [
        Hypothesis((5, 6), -0.5, -0.6, finished=True),
        Hypothesis((7,), -2.0, -2.1, finished=False),
    ]
    assert json.loads(json_line(4, hypotheses, ["größe", "y"])) == {
        "index": 4,
        "hypotheses": [
            {"text": "größe", "score": -0.5, "log_probability": -0.6, "tokens": 2},
            {"text": "y", "score": -2.0, "log_probability": -2.1, "tokens": 1},
        ],
    }
    assert "größe" in json_line(4, hypotheses, ["größe", "y"])


def test_an_empty_source_still_has_a_first_hypothesis():
    row = json.loads(json_line(0, [], []))
    assert row["hypotheses"] == [{"text": "", "score": None, "log_probability": None, "tokens": 0}]
