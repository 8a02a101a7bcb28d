"""Worker processes: what they do is put together, and what becomes of a run when they die.

The workers are real processes, but for speed they speak the protocol without a model: a share's
lines are its rows' numbers, and a row whose label is a word does as that word says.
"""

import json
import sys

import numpy as np
import pytest

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.lines.outputs import Line
from s2s_ft.decode.lines.sources import Item, Share
from s2s_ft.decode.search.requests import Request
from s2s_ft.decode.ways import workers
from s2s_ft.decode.ways.messages import item_from, item_to, line_from, line_to
from s2s_ft.decode.ways.workers import Workers
from s2s_ft.options import DecodeOptions, build

OPTIONS = build(DecodeOptions, {"model_path": "m", "input_file": "i"})

STAND_IN = """
import json, os, signal, sys, time
first = json.loads(sys.stdin.readline())
died = sys.argv[0] + ".died"
if first["checkpoint"] == "bad":
    print(json.dumps({"fault": {"kind": "ValueError", "message": "no such checkpoint"}}))
    sys.exit(1)
for line in sys.stdin:
    message = json.loads(line)
    lines = []
    for key, source, prefix, phrases, number, label in message["items"]:
        while label == "dies in the first" and first["number"] != 0 and not os.path.exists(died):
            time.sleep(0.01)
        if label == "dies" or (label == "dies in the first" and first["number"] == 0):
            open(died, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if label == "half":
            print('{"share": 1, "li', end="", flush=True)
            sys.exit(3)
        if label == "fault":
            print(json.dumps({"fault": {"kind": None, "message": "KeyError: 5"}}), flush=True)
        lines.append([key, f"row {key}", None])
    print(json.dumps({"share": message["share"], "lines": lines}), flush=True)
"""


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch, tmp_path):
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    monkeypatch.setattr(workers, "COMMAND", [sys.executable, str(path)])


def shares(*labels):
    """A share of one row for every label."""
    return [
        Share(number, [Item(Request(number, np.array([2, 7, 3])), number + 1, label)])
        for number, label in enumerate(labels)
    ]


def results(count, *labels, checkpoint="m"):
    with Workers(count, checkpoint, OPTIONS) as crew:
        found = list(crew.results(shares(*labels)))
        processes = crew.processes
    assert all(process.poll() is not None for process in processes)
    return sorted((share.number, lines) for share, lines in found)


def expected(count):
    return [(number, [Line(number, f"row {number}", None)]) for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_share_is_done_once(count):
    assert results(count, *[None] * 10) == expected(10)


def test_no_share_at_all():
    assert results(2) == []


def test_what_a_dead_worker_had_another_one_does(caplog):
    assert results(2, *["dies in the first"] * 10) == expected(10)
    assert "worker 0 ended (SIGKILL, is memory short?); 1 others do its work" in caplog.text


@pytest.mark.parametrize("label", ["dies", "half"])
def test_a_share_that_ends_two_workers_ends_the_run(label):
    with pytest.raises(EnvironmentFault, match=r"as another one did before.* 1 rows from line 3"):
        results(3, None, None, label, None)


def test_a_run_without_workers_left_ends():
    with pytest.raises(EnvironmentFault, match="no worker is left"):
        results(1, "dies")


def test_a_fault_in_a_worker_is_the_runs():
    with pytest.raises(ValueError, match="no such checkpoint"):
        results(2, *[None] * 5, checkpoint="bad")
    with pytest.raises(EnvironmentFault, match="a process of this run failed: KeyError: 5"):
        results(2, None, "fault")


def test_items_come_through_a_message_as_they_were():
    item = Item(Request(5, np.array([2, 9, 3]), (1, 2), ((3,), (4, 5))), 6, {"a": [1, None]})
    again = item_from(item_to(item))
    assert again.request.source.dtype == np.int64
    assert again.request.source.tolist() == [2, 9, 3]
    assert (again.request.prefix, again.request.phrases) == ((1, 2), ((3,), (4, 5)))
    assert (again.index, again.line, again.label) == (5, 6, {"a": [1, None]})


@pytest.mark.parametrize("line", [Line(3, "a", None), Line(4, "b", "t", lacks_words=True)])
def test_lines_come_through_a_message_as_they_were(line):
    assert line_from(json.loads(json.dumps(line_to(line)))) == line
