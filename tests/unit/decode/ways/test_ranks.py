"""Ranks that share work through a store: threads in their place, and a store in memory."""

import threading
import time
from datetime import timedelta

import numpy as np
import pytest
from torch.distributed import HashStore, TCPStore

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.lines.outputs import Line
from s2s_ft.decode.lines.sources import Item, Share
from s2s_ft.decode.search.requests import Request
from s2s_ft.decode.ways import ranks as ranks_way
from s2s_ft.decode.ways.ranks import Ranks, joined

SHARES = [Share(n, [Item(Request(n, np.array([2, 5])), n + 1)]) for n in range(12)]


def line(share):
    return Line(share.number, f"line {share.number}", None)


def decode(share):
    time.sleep(0.002)
    return [line(share)]


def slow(share):
    time.sleep(0.05)
    return [line(share)]


def gather(size, shares, others=decode, own=decode, store=None, reach=None):
    """What rank 0 gets while `size - 1` others serve, who `reach` the store if not in memory."""
    store = store or HashStore()
    faults = []

    def serve(rank):
        try:
            Ranks(rank, size, rank, reach() if reach else store).serve(SHARES, others)
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


@pytest.mark.parametrize("piece", [1, 7, 2**22])
def test_lines_arrive_whatever_pieces_they_travel_in(monkeypatch, piece):
    monkeypatch.setattr(ranks_way, "PIECE", piece)
    store = HashStore()
    served = []

    def serves(share):
        served.append(share.number)
        return decode(share)

    found, faults = gather(3, SHARES, serves, slow, store)
    assert sorted((share.number, lines) for share, lines in found) == [
        (share.number, [line(share)]) for share in SHARES
    ]
    assert served
    assert not faults
    assert not any(store.check([f"share/{n}"]) or store.check([f"share/{n}/0"]) for n in range(12))


def test_a_share_larger_than_the_store_takes_at_once_arrives():
    """Beyond 8 MiB it closes the connection, and the rank would leave as if all were done."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    text = "é" * 2**21  # JSON has six characters for each

    def patient(share):
        store.wait([f"share/{1 - share.number}"], timedelta(seconds=60))
        return [line(share)]

    def long(share):
        return [Line(share.number, text, None)]

    def reach():
        return TCPStore("127.0.0.1", store.port, is_master=False)

    found, faults = gather(2, SHARES[:2], long, patient, store, reach)
    assert not faults
    assert any(lines[0].output == text for _, lines in found)


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
def test_a_fault_of_another_rank_ends_the_run_with_its_message(monkeypatch, fault):
    def fails(share):
        raise fault

    monkeypatch.setattr(ranks_way, "PIECE", 5)
    with pytest.raises(type(fault), match=str(fault)):
        gather(3, SHARES, others=fails, own=slow)


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
