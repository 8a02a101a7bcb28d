"""Trace files: what is written comes back, and damage is named by file and line."""

import json
from dataclasses import replace

import pytest

from s2s_ft.decode.lines.traces import (
    TraceHeader,
    header_line,
    read_header,
    read_traces,
    trace_line,
)
from s2s_ft.decode.search.hypotheses import Trace

HEADER = TraceHeader(
    num_examples=3,
    eos_id=3,
    pad_id=0,
    beam_size=2,
    length_penalty=0.0,
    length_reward=0.5,
    tokenizer="folder",
    do_lower_case=None,
)
TRACES = [
    Trace([[-0.1, -2.0], [-0.25, -2.5]], [[7, 8], [3, 3]], [[0, 0], [0, 1]]),
    Trace(),
    Trace([[-1.0]], [[3]], [[0]]),
]


@pytest.fixture
def lines():
    return [header_line(HEADER), *(trace_line(index, trace) for index, trace in enumerate(TRACES))]


@pytest.fixture
def write(tmp_path):
    def write(lines):
        path = tmp_path / "x.trace.jsonl"
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return write


def test_what_is_written_comes_back(lines, write):
    path = write(lines)
    assert read_header(path) == HEADER
    assert list(read_traces(path)) == TRACES


def test_every_line_is_json(lines):
    assert [json.loads(line).get("index") for line in lines] == [None, 0, 1, 2]


def changed(line, **values):
    return json.dumps({**json.loads(line), **values})


def test_a_file_of_an_older_version_has_no_reward(lines, write):
    old = json.loads(lines[0])
    del old["length_reward"]
    assert read_header(write([json.dumps(old)])) == replace(HEADER, length_reward=0.0)


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        (1, lambda line: "", r"trace.jsonl, line 1: not JSON"),
        (1, lambda line: "[]", r"line 1: a JSON object"),
        (1, lambda line: changed(line, format="other"), r"line 1: not a trace file"),
        (1, lambda line: changed(line, version=2), r"line 1: trace format version 2 is not known"),
        (
            1,
            lambda line: '{"format": "s2s-ft trace", "version": 1}',
            r"line 1: the header lacks num_ex",
        ),
        (1, lambda line: changed(line, eos_id="3"), r"line 1: 'eos_id' must be a whole number"),
        (2, lambda line: line[:20], r"trace.jsonl, line 2: not JSON"),
        (2, lambda line: changed(line, index=1), r"line 2: example 0 was expected, found 1"),
        (2, lambda line: changed(line, scores=None), r"line 2: 'scores' must be a list"),
        (2, lambda line: changed(line, ids=[[7, 8]]), r"line 2: .* differ in shape"),
        (2, lambda line: changed(line, ids=[[7, "8"], [3, 3]]), r"line 2: 'ids' holds something"),
        (2, lambda line: changed(line, parents=[[0, 0], [0, 2]]), r"line 2: an entry of 'parents'"),
        (
            2,
            lambda line: changed(line, parents=[[0, 0], [0, -1]]),
            r"line 2: an entry of 'parents'",
        ),
        (2, lambda line: changed(line, scores=[[], []]), r"line 2: 'scores' must be a list"),
    ],
)
def test_damage_is_named_by_file_and_line(lines, write, number, change, message):
    lines[number - 1] = change(lines[number - 1])
    with pytest.raises(ValueError, match=message):
        list(read_traces(write(lines)))


def test_a_lost_line_is_noticed(lines, write):
    with pytest.raises(ValueError, match="line 3: example 1 was expected, found 2"):
        list(read_traces(write([*lines[:2], lines[3]])))


def test_a_lost_end_is_noticed(lines, write):
    with pytest.raises(ValueError, match="holds 2 of the 3 examples"):
        list(read_traces(write(lines[:3])))


def test_bytes_that_are_no_text_are_named(lines, write):
    path = write(lines)
    path.write_bytes(path.read_bytes() + b"\xff\xfe\n")
    with pytest.raises(ValueError, match=r"trace.jsonl, line 5: not JSON"):
        list(read_traces(path))
