"""Runs that fail midway, and the same command with `--resume`."""

import numpy as np
import pytest

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode import decoder
from s2s_ft.decode.search.hypotheses import Hypothesis, SearchResult
from s2s_ft.decode.search.requests import MemoryTooSmall, NonFiniteScores, Request
from tests.unit.decode.run.conftest import TEXTS


@pytest.mark.parametrize(
    "fault",
    [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(143)],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.parametrize("fail_at", [0, 3, 4])
def test_a_run_that_fails_midway_is_gone_on_with(decode, search, tmp_path, fault, fail_at, caplog):
    """The lines of whole shares are kept, and only with --resume is anything made of them."""
    search.fault, search.fail_at = fault, fail_at
    with pytest.raises(type(fault)):
        decode(batch_size=1, need_score_traces=True)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.trace.jsonl").exists()
    assert (tmp_path / "out.journal").exists() == (fail_at > 0)
    assert ("the same command with --resume goes on" in caplog.text) == (fail_at > 0)
    search.fail_at = -1
    before = len(search.sources)
    assert decode(batch_size=1, need_score_traces=True, resume=True) == TEXTS
    assert len(search.sources) - before == 5 - before
    assert not (tmp_path / "out.journal").exists()
    whole = (tmp_path / "out.trace.jsonl").read_bytes()
    decode(batch_size=1, need_score_traces=True)
    assert (tmp_path / "out.trace.jsonl").read_bytes() == whole


def test_shares_are_no_larger_where_tokens_alone_are_limited(decode, search, input_file, tmp_path):
    """So what is done is kept, and several processes have work, as with the usual batch size."""
    input_file.write_text('{"src": "a b"}\n' * 300, encoding="utf-8")
    search.fault, search.fail_at = KeyboardInterrupt(), 200
    with pytest.raises(KeyboardInterrupt):
        decode(max_tokens_per_batch=100_000)
    assert (tmp_path / "out.journal").exists()
    search.fail_at = -1
    assert decode(max_tokens_per_batch=100_000, resume=True) == ["a b"] * 300
    assert 300 < len(search.sources) < 400


def test_an_older_output_stays_until_a_newer_one_is_whole(decode, search, tmp_path):
    decode()
    search.fault, search.fail_at = RuntimeError("broken"), len(search.sources) + 3
    with pytest.raises(RuntimeError):
        decode(batch_size=1, subset=5)
    assert (tmp_path / "out").read_text(encoding="utf-8").split("\n")[:-1] == TEXTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beam_size": 2}, "search beam_size was 1, now 2; undo the change of --beam_size"),
        ({"subset": 5}, "input was .*…, now .*…; undo the change of --input_file"),
        ({"output_format": "jsonl"}, "output format was text, now jsonl"),
        ({"batch_size": 2}, "batch max_examples was 1, now 2"),
        ({"bf16": True}, "computing numbers was fp32, now bf16"),
    ],
)
def test_a_run_with_another_identity_is_not_gone_on_with(decode, search, change, message):
    search.fault, search.fail_at = KeyboardInterrupt(), 4
    with pytest.raises(KeyboardInterrupt):
        decode(batch_size=1)
    search.fail_at = -1
    with pytest.raises(ValueError, match=f"--resume: cannot go on with .*: {message}"):
        decode(**{"batch_size": 1, "resume": True, **change})
    assert decode(batch_size=1, resume=True) == TEXTS


def test_too_little_memory_is_the_environments_fault(decode, search):
    search.fault, search.fail_at = MemoryTooSmall(Request(0, np.array([2, 3]))), 0
    with pytest.raises(EnvironmentFault, match="memory does not hold one row"):
        decode()


def test_scores_that_are_no_numbers_name_the_row(decode, search, monkeypatch):
    def generate(model, method, requests, settings, **keywords):
        for request in requests:
            yield request, SearchResult([Hypothesis((6,), float("nan"), -1.0, finished=True)], None)

    monkeypatch.setattr(decoder, "generate", generate)
    with pytest.raises(ValueError, match=r"dev.en.jsonl, line 5: gets scores that are no numbers"):
        decode(batch_size=1)


def test_what_the_engine_says_of_scores_names_the_row(decode, search):
    request = Request(4, np.array([2, 3]))
    search.fault, search.fail_at = NonFiniteScores(request), 0
    with pytest.raises(ValueError, match=r"dev.en.jsonl, line 5: gets scores that are no numbers"):
        decode(batch_size=1)
