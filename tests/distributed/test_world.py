"""What ranks tell one another, and how they end together."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed import HashStore
from torch.torch_version import TorchVersion

from s2s_ft.cli import EnvironmentFault, TrainingFault
from s2s_ft.train import launch
from s2s_ft.train.distributed import World
from s2s_ft.train.launch import fresh_part, join
from tests.distributed.ranks import together


def wait_for_all(world: World) -> None:
    world.add_up(torch.zeros(1))


def exchange() -> int:
    with join(local_rank=-1, on_gpu=False) as world:
        assert (world.size, world.rank) == (3, world.local_rank)
        assert float(world.add_up(torch.tensor(1.0 + world.rank))) == 6.0
        given = {"text": "ü", "numbers": [1, 0.1, None]}
        assert world.from_main(given if world.is_main else None) == given
        assert world.from_main(f"of rank {world.rank}") == "of rank 0"
        gathered = world.gather({"rank": world.rank, "text": "x" * world.rank})
        if world.is_main:
            assert gathered == [{"rank": rank, "text": "x" * rank} for rank in range(3)]
        else:
            assert gathered is None
        wait_for_all(world)
    return 0


def take_turns(folder: Path) -> int:
    with join(local_rank=-1, on_gpu=False) as world:
        for turn in range(2):
            with world.main_first():
                if world.is_main:
                    time.sleep(0.2)
                    (folder / f"turn-{turn}").touch()
                assert (folder / f"turn-{turn}").exists()
    return 0


def fail_on_main() -> int:
    with join(local_rank=-1, on_gpu=False) as world, world.main_first():
        assert world.is_main, "the others do not enter"
        raise ValueError("--train_file is wrong")


def fail_alone(rank: int, kind: type[Exception]) -> int:
    with join(local_rank=-1, on_gpu=False) as world:
        if world.rank == rank:
            raise kind("no room")
        wait_for_all(world)
    return 0


def fail_alike() -> int:
    with join(local_rank=-1, on_gpu=False) as world:
        time.sleep(0.5 * world.rank)
        raise TrainingFault(f"on rank {world.rank}")


NCCLS = (
    "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled system error, NCCL version 2.28.9\n"
    "Last error:\nError while creating shared memory segment /dev/shm/nccl-3 (size 963), "
    "error: No space left on device (28)"
)


def fail_in_nccl() -> int:
    launch.GRACE_SECONDS = 0.5
    with join(local_rank=-1, on_gpu=False):
        raise dist.DistBackendError(NCCLS)


def be_killed(rank: int, *, while_waiting: bool) -> int:
    with join(local_rank=-1, on_gpu=False) as world:
        if world.rank == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        if while_waiting:
            with world.main_first():
                pass
        wait_for_all(world)
    return 0


def meet(*, without: int) -> int:
    if os.environ["RANK"] == str(without):
        return 9
    launch.MEETING = timedelta(seconds=3)
    with join(local_rank=-1, on_gpu=False):
        return 0


def test_everybody_hears_the_same(tmp_path: Path) -> None:
    ended = together(exchange, 3, tmp_path)
    assert [each.code for each in ended] == [0, 0, 0], ended


def test_one_process_alone_is_a_world() -> None:
    world = World()
    with world.main_first():
        assert world.from_main([1]) == [1]
    assert world.gather("a") == ["a"]
    tensor = torch.tensor(2.0)
    assert world.add_up(tensor) is tensor


def test_the_main_rank_goes_first(tmp_path: Path) -> None:
    ended = together(partial(take_turns, tmp_path), 2, tmp_path)
    assert [each.code for each in ended] == [0, 0], ended


def test_what_fails_on_the_main_rank_fails_on_all(tmp_path: Path) -> None:
    main, other = together(fail_on_main, 2, tmp_path)
    assert (main.code, other.code) == (2, 2)
    assert main.text == "error: --train_file is wrong\n"
    assert other.text == "error: rank 0: --train_file is wrong\n"


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("kind", "code"), [(OSError, 1), (EnvironmentFault, 1), (ValueError, 2)])
def test_what_fails_on_one_rank_is_told_by_the_others(
    rank: int, kind: type[Exception], code: int, tmp_path: Path
) -> None:
    started = time.monotonic()
    ended = together(partial(fail_alone, rank, kind), 2, tmp_path)
    assert time.monotonic() - started < 60
    assert [each.code for each in ended] == [code, code]
    assert ended[rank].text.splitlines()[-1] == "error: no room"
    assert ended[1 - rank].text.splitlines()[-1] == f"error: rank {rank}: no room"


def test_a_fault_of_ours_keeps_its_traceback(tmp_path: Path) -> None:
    other, ours = together(partial(fail_alone, 1, KeyError), 2, tmp_path)
    assert (other.code, ours.code) == (1, 1)
    assert "Traceback" in ours.text
    assert other.text.splitlines()[-1] == "error: rank 1: KeyError: 'no room'"


def test_ranks_that_fail_alike_each_say_their_own(tmp_path: Path) -> None:
    ended = together(fail_alike, 2, tmp_path)
    assert [each.code for each in ended] == [3, 3]
    assert [each.text for each in ended] == [f"error: on rank {rank}\n" for rank in range(2)]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("while_waiting", [False, True])
def test_a_killed_rank_leaves_nobody_waiting(
    rank: int, while_waiting: bool, tmp_path: Path
) -> None:
    ended = together(partial(be_killed, rank, while_waiting=while_waiting), 2, tmp_path)
    assert ended[rank].code == -signal.SIGKILL
    assert ended[1 - rank].code == 1
    assert "lost the other processes of this run" in ended[1 - rank].text


def test_what_nccl_says_is_passed_on(tmp_path: Path) -> None:
    for each in together(fail_in_nccl, 2, tmp_path):
        assert each.code == 1
        last = each.text.splitlines()[-1]
        assert "it says: Error while creating shared memory segment /dev/shm/nccl-3" in last
        assert "No space left on device (28)); the same command goes on" in last


@pytest.mark.parametrize("missing", [0, 2])
def test_a_rank_that_never_came_is_named(missing: int, tmp_path: Path) -> None:
    started = time.monotonic()
    ended = together(partial(meet, without=missing), 3, tmp_path)
    assert time.monotonic() - started < 60
    for rank, (code, text) in enumerate((each.code, each.text) for each in ended):
        assert code == (9 if rank == missing else 1)
        if rank != missing:
            last = text.splitlines()[-1]
            assert "the 3 processes of this run did not meet at 127.0.0.1:" in last
            if missing != 0:  # who keeps the store
                assert f"nothing was heard of rank {missing} for 3 s" in last


def test_rank_0_that_never_calls_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MEETING", timedelta(seconds=0.2))
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.1)
    with pytest.raises(RuntimeError, match="heard of rank 0"):
        fresh_part(HashStore(), 1, 2)


def test_what_an_earlier_start_left_in_the_store_is_not_met() -> None:
    """Launchers keep their store; rank 1 may come first and meet the old calls and answers."""
    store = HashStore()
    for start in range(3):
        with ThreadPoolExecutor(2) as threads:
            other = threads.submit(fresh_part, store, 1, 2)
            time.sleep(0.1)
            parts = [threads.submit(fresh_part, store, 0, 2).result(10), other.result(10)]
        parts[0].set("word", f"of start {start}")
        assert parts[1].get("word") == f"of start {start}".encode()
        assert not parts[1].check(["left"])
        parts[0].set("left", "something")


def test_a_rank_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with (
        pytest.raises(ValueError, match=r"--local_rank 1 .* torchrun"),
        join(local_rank=1, on_gpu=False),
    ):
        pass


@pytest.mark.parametrize(
    "environment", [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "two", "RANK": "0"}, {"WORLD_SIZE": ""}]
)
def test_half_an_environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentFault, match="WORLD_SIZE"), join(local_rank=0, on_gpu=False):
        pass


@pytest.mark.parametrize("name", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_a_restart_is_known_as_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT", "WORLD_SIZE"):
        monkeypatch.delenv(each, raising=False)
    for count in ("0", "2"):
        monkeypatch.setenv(name, count)
        with join(local_rank=-1, on_gpu=False) as world:
            assert world == World(is_restart=count == "2")


@pytest.mark.parametrize(
    ("release", "expected"), [("2.7.1", ["sleep", "close"]), ("2.8.0", ["close"])]
)
def test_gloo_gets_time_where_torch_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch, release: str, expected: list[str]
) -> None:
    """Without it one run in fifteen hung at its end under torch 2.6 and 2.7."""
    done: list[str] = []
    monkeypatch.setattr(torch, "__version__", TorchVersion(release))
    monkeypatch.setattr(launch.time, "sleep", lambda _seconds: done.append("sleep"))
    monkeypatch.setattr(launch.dist, "destroy_process_group", lambda: done.append("close"))
    launch._leave()
    assert done == expected
