"""The journal: whatever is torn or damaged at its end costs the shares it belongs to, not more."""

import itertools
import json
import logging
import os
import random
import zlib

import pytest

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.lines.outputs import Line
from s2s_ft.decode.ways.journal import Journal

IDENTITY = {"input": "a" * 64, "search": {"beam_size": 1}}
SHARES = {
    0: [Line(3, "drei é", None), Line(1, "eins\ud83d", '{"index": 1}')],
    1: [Line(0, "", None)],
    2: [Line(2, "zwei\u2028", "t"), Line(4, "vier", None)],
}
ALL = sorted(itertools.chain(*SHARES.values()), key=lambda line: line.index)


def done(journal):
    """Numbers of the shares that a journal holds."""
    return {number for number, lines in SHARES.items() if journal.holds(x.index for x in lines)}


class InterruptedRunError(Exception):
    """The run ends without having been told to."""


def interrupted(output, shares=SHARES, **keywords):
    """What a run leaves that does some shares and then ends."""
    with pytest.raises(InterruptedRunError):  # noqa: SIM117 PT012 the exception passes through both
        with Journal(output, IDENTITY, resume=False, **keywords) as journal:
            for number, lines in shares.items():
                journal.add(number, lines)
            raise InterruptedRunError
    return journal.path


def test_lines_come_back_in_the_order_of_rows_and_the_journal_goes(tmp_path):
    with Journal(tmp_path / "a" / "out", IDENTITY, resume=False) as journal:
        for number, lines in SHARES.items():
            journal.add(number, lines)
        assert list(journal.lines()) == ALL
        assert len(journal) == len(ALL)
        assert journal.path.read_bytes().count(b"\n") == 1 + len(ALL) + len(SHARES)
    assert list((tmp_path / "a").iterdir()) == []


def test_a_run_that_did_nothing_leaves_nothing(tmp_path):
    interrupted(tmp_path / "out", {})
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_is_kept_and_told(tmp_path, caplog):
    path = interrupted(tmp_path / "out", {1: SHARES[1]})
    assert f"1 rows are done and kept in {path}: the same command with --resume" in caplog.text
    with caplog.at_level(logging.INFO), Journal(tmp_path / "out", IDENTITY, resume=True) as journal:
        assert done(journal) == {1}
        assert f"going on from {path}: 1 rows are done" in caplog.text
        journal.add(0, SHARES[0])
        journal.add(2, SHARES[2])
        assert list(journal.lines()) == ALL


def test_shares_may_be_cut_in_another_way_when_it_goes_on(tmp_path):
    """As another version may do; what is there stays, and nothing comes twice."""
    path = interrupted(tmp_path / "out", {0: [*SHARES[0], *SHARES[1]]})
    before = path.read_bytes()
    with Journal(tmp_path / "out", IDENTITY, resume=True) as journal:
        assert done(journal) == {0, 1}
        assert not journal.holds([3, 4])
        journal.add(0, [Line(3, "another", None), SHARES[2][1]])
        journal.add(1, SHARES[2])
        assert path.read_bytes().startswith(before)
        assert list(journal.lines()) == ALL


def boundaries(path):
    """Where in the bytes of a journal shares end, and how many are whole by then."""
    ends, size = [], 0
    for raw in path.read_bytes().splitlines(keepends=True):
        size += len(raw)
        if b'{"share"' in raw:
            ends.append(size)
    return ends


def test_every_torn_end_is_tolerated(tmp_path, monkeypatch):
    """The file is cut after every byte; what is whole before stays, the rest is done again."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    path = interrupted(tmp_path / "out")
    whole, ends = path.read_bytes(), boundaries(path)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        with Journal(tmp_path / "out", IDENTITY, resume=True) as journal:
            assert len(done(journal)) == sum(end <= size for end in ends)
            for number in SHARES.keys() - done(journal):
                journal.add(number, SHARES[number])
            assert list(journal.lines()) == ALL
            assert len(path.read_bytes()) == len(whole)


@pytest.mark.parametrize("garbage", [b"\n", b"\x00" * 50, b"x" * 50 + b"\n", b'{"share": 9}\n'])
def test_what_was_never_written_so_is_no_part_of_it(tmp_path, garbage):
    path = interrupted(tmp_path / "out", {0: SHARES[0]})
    path.write_bytes(path.read_bytes() + garbage)
    with Journal(tmp_path / "out", IDENTITY, resume=True) as journal:
        assert done(journal) == {0}
        journal.add(1, SHARES[1])
        journal.add(2, SHARES[2])
        assert list(journal.lines()) == ALL


def test_a_flipped_bit_costs_what_follows(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    path = interrupted(tmp_path / "out")
    whole, ends = path.read_bytes(), boundaries(path)
    head = whole.index(b"\n") + 1
    generator = random.Random(0)
    for _ in range(100):
        place = generator.randrange(head, len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        with Journal(tmp_path / "out", IDENTITY, resume=True) as journal:
            assert len(done(journal)) == sum(end <= place for end in ends)
            for number in SHARES.keys() - done(journal):
                journal.add(number, SHARES[number])
            assert list(journal.lines()) == ALL


def test_a_failed_write_leaves_no_hole(tmp_path, monkeypatch):
    whole = os.pwrite
    with Journal(tmp_path / "out", IDENTITY, resume=False) as journal:
        journal.add(0, SHARES[0])
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", lambda *arguments: fail(whole, *arguments))
            with pytest.raises(OSError, match="full"):
                journal.add(1, SHARES[1])
        assert done(journal) == {0}
        journal.add(1, SHARES[1])
        journal.add(2, SHARES[2])
        assert list(journal.lines()) == ALL


def fail(pwrite, descriptor, data, offset):
    pwrite(descriptor, data[:5], offset)
    raise OSError("disk full")


def test_the_journal_of_another_run_is_refused(tmp_path):
    interrupted(tmp_path / "out")
    for change, message in (
        ({"input": "b" * 64}, "input was aaaaaaaaaaaa…, now bbbbbbbbbbbb…; undo the change of --i"),
        ({"search": {"beam_size": 2}}, "search beam_size was 1, now 2"),
        ({"search": {"beam_size": 1, "top_k": 3}}, "search top_k was None, now 3"),
    ):
        with pytest.raises(
            ValueError, match=f"--resume: cannot go on with .*out.journal: {message}"
        ):
            Journal(tmp_path / "out", {**IDENTITY, **change}, resume=True)
    with Journal(tmp_path / "out", IDENTITY, resume=True) as journal:
        assert len(journal) == len(ALL)


def test_without_resume_an_older_journal_is_put_aside_and_told_of(tmp_path, caplog):
    path = interrupted(tmp_path / "out", {0: SHARES[0]})
    before = path.read_bytes()
    old = tmp_path / "out.journal.old"
    with Journal(tmp_path / "out", IDENTITY, resume=False) as journal:
        assert "held 2 rows of a command that did not end" in caplog.text
        assert old.read_bytes() == before
        assert done(journal) == set()
        journal.add(1, SHARES[1])
    assert list(tmp_path.iterdir()) == []


def test_one_run_at_a_time(tmp_path):
    with Journal(tmp_path / "out", IDENTITY, resume=False) as journal:
        with pytest.raises(EnvironmentFault, match=r"out.journal is in use"):
            Journal(tmp_path / "out", IDENTITY, resume=True)
        journal.add(1, SHARES[1])
        assert list(journal.lines()) == SHARES[1]


def test_a_place_that_is_no_folder_is_known_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError):  # noqa: PT011 what is said is the system's
        Journal(tmp_path / "file" / "out", IDENTITY, resume=False)


@pytest.mark.parametrize("name", ["out.journal", "out.journal.old"])
@pytest.mark.parametrize("content", [b"a b\n", b"3f0c81aa a b\n", b'{"src": "a"}\n', b"\n", b"a b"])
def test_a_file_that_is_no_journal_stays(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    for resume in (True, False):
        with pytest.raises(ValueError, match=rf"^--output_file: .*{name} is no journal .* move it"):
            Journal(tmp_path / "out", IDENTITY, resume=resume)
        assert path.read_bytes() == content


def test_a_first_line_that_a_power_cut_left_without_its_bytes_is_nothing(tmp_path):
    (tmp_path / "out.journal").write_bytes(b"\0" * 200)
    with Journal(tmp_path / "out", IDENTITY, resume=True) as journal:
        assert done(journal) == set()


def test_a_journal_of_another_version_is_begun_anew(tmp_path):
    path = tmp_path / "out.journal"
    head = json.dumps({"format": "s2s-ft journal", "version": 99}).encode()
    path.write_bytes(b"%08x %s\n" % (zlib.crc32(head), head))
    with Journal(tmp_path / "out", IDENTITY, resume=True) as journal:
        assert done(journal) == set()
