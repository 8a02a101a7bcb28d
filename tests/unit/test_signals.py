"""Signals that are held back while a pool of threads is at work, and obeyed in order."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2s_ft.cli import signals_held_back
from s2s_ft.data.features import CHUNK_ROWS
from tests.unit.text.small_tokenizers import word_piece

SIGTERM_INSIDE_THE_LOCK = """
import os, signal, sys, threading
from s2s_ft.cli import run
from s2s_ft.data.features import build_or_open
from s2s_ft.text import TextCodec

codec, returns = TextCodec.load("tokenizer"), 0

def in_submit(frame, event, argument):
    enters = frame.f_code is threading.Condition.__enter__.__code__
    if not enters or frame.f_back.f_code is not threading.Semaphore.acquire.__code__:
        return None
    def leaving(frame, event, argument):
        global returns
        returns += event == "return"
        if event == "return" and returns == 2:
            sys.settrace(None)
            os.kill(os.getpid(), signal.SIGTERM)
        return leaving
    return leaving

def main():
    sys.settrace(in_submit)
    build_or_open("rows.jsonl", codec, folder="features", num_workers=1)
    return 0

sys.exit(run(main))
"""


class EndedError(Exception):
    """What the handler raises."""


@pytest.fixture
def raising() -> Iterator[None]:
    """A handler of SIGTERM that raises, as the commands have it."""

    def end(_number: int, _frame: object) -> None:
        raise EndedError

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_signal_is_obeyed_where_that_is_said(raising: None) -> None:
    reached = []

    def work() -> None:
        with signals_held_back() as obey:
            obey()
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append("behind the signal")
            obey()
            reached.append("behind the place")

    with pytest.raises(EndedError):
        work()
    assert reached == ["behind the signal"]


def test_a_signal_is_obeyed_at_the_end_at_the_latest(raising: None) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(EndedError), signals_held_back():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_without_a_signal_nothing_happens(raising: None) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with signals_held_back() as obey:
        obey()
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def test_a_signal_amid_the_start_of_a_thread_ends_tokenising(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    word_piece(tmp_path / "tokenizer")
    row = json.dumps({"src": "a b", "tgt": "a"}) + "\n"
    (tmp_path / "rows.jsonl").write_text(row * (4 * CHUNK_ROWS), encoding="utf-8")
    command = [sys.executable, "-c", SIGTERM_INSIDE_THE_LOCK]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, timeout=120, check=False)
    assert done.returncode == 128 + signal.SIGTERM
    assert list((tmp_path / "features").iterdir()) == []
