"""Ranks that share work through a store: threads in their place, and a store in memory."""

import threading
import time

import numpy as np
import pytest
from torch.distributed import HashStore

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.lines.outputs import Line
from s2s_ft.decode.lines.sources import Item, Share
from s2s_ft.decode.search.requests import Request
from s2s_ft.decode.ways.ranks import Ranks, joined

SHARES = [Share(n, [Item(Request(n, np.array([2, 5])), n + 1)]) for n in range(12)]


def line(share):
    return Line(share.number, f"line {share.number}", None)


def decode(share):
    time.sleep(0.002)
    return [line(share)]


def gather(size, shares, others=decode, own=decode):
    """What rank 0 gets while `size - 1` others serve."""
    store = HashStore()
    faults = []

    def serve(rank):
        try:
            Ranks(rank, size, rank, store).serve(SHARES, others)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=serve, args=(rank,)) for rank in range(1, size)]
    for thread in threads:
        thread.start()
    try:
        return list(Ranks(0, size, 0, store).results(shares, own)), faults
    finally:
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_every_share_is_done_once(size):
    found, faults = gather(size, SHARES)
    assert sorted((share.number, lines) for share, lines in found) == [
        (share.number, [line(share)]) for share in SHARES
    ]
    assert not faults


def test_what_is_done_already_is_left_out():
    found, faults = gather(3, SHARES[5:])
    assert sorted(share.number for share, _ in found) == list(range(5, 12))
    assert not faults


def test_what_a_lost_rank_does_not_deliver_is_done_again():
    def dies(share):
        raise SystemExit(1)

    found, faults = gather(3, SHARES, others=dies)
    assert sorted(share.number for share, _ in found) == list(range(12))
    assert len(faults) == 2


@pytest.mark.parametrize("fault", [ValueError("row 3 is bad"), EnvironmentFault("no memory")])
def test_a_fault_of_another_rank_ends_the_run_with_its_message(fault):
    def fails(share):
        raise fault

    def slow(share):
        time.sleep(0.05)
        return [line(share)]

    with pytest.raises(type(fault), match=str(fault)):
        gather(2, SHARES, others=fails, own=slow)


def test_one_process_alone_is_no_ranks(monkeypatch):
    for value in (None, "1"):
        if value:
            monkeypatch.setenv("WORLD_SIZE", value)
        else:
            monkeypatch.delenv("WORLD_SIZE", raising=False)
        with joined() as ranks:
            assert (ranks.is_main, ranks.size, ranks.local_rank) == (True, 1, None)
            assert ranks.part("x") is ranks


def test_a_launcher_that_is_none_is_told_of(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EnvironmentFault, match="start them with torchrun"), joined():
        pass
