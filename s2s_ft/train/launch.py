"""Joining the other processes of a run, and leaving them in good order, whatever happens.

    torchrun --nproc-per-node=2 run_seq2seq.py …                  sets RANK, LOCAL_RANK, WORLD_SIZE
    python -m torch.distributed.launch --nproc-per-node=2 …       the same, or gives --local_rank
    python run_seq2seq.py …                                       one process, nobody to join

Notable: a process that fails leaves its reason in the launcher's key-value store before it goes.
The others find their connections closed, look there, and end with the same message and exit code
instead of one about sockets. Whom that does not reach, because it waits for nccl, the launcher
ends: torchrun sends SIGTERM to the rest at once and SIGKILL half a minute later. Where no launcher
watches over them, a process that died before all have met is missed after five minutes.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from traceback import clear_frames

import torch
import torch.distributed as dist
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from s2s_ft.cli import EnvironmentFault, setup_logging
from s2s_ft.train.distributed import POLL_SECONDS, World
from s2s_ft.train.faults import is_lost_connection, retold, told, words_of_nccl

MEETING = timedelta(minutes=5)
"""The longest that processes wait until all of them are there; more than any start takes."""

TIMEOUT = timedelta(minutes=30)
"""The longest that one waits for the others later on; more than any save takes."""

ALIKE_SECONDS = 1.0
"""How long a process that fails waits for the others to fail alike, each with its own message."""

GRACE_SECONDS = 3.0
"""How long a process that ends waits for others to leave, or to find, a reason."""

LETTING_GO_SECONDS = 0.2
"""How long gloo's threads are given to let go of tensors where torch does not wait for that."""

_FAULT = "fault"
_ENDED = "ended"
_DONE = "done"


@contextmanager
def join(*, local_rank: int, on_gpu: bool) -> Iterator[World]:
    """Join the other processes of this run for the time of the body.

    All but rank 0 log warnings and errors only, from here on.

    Args:
        local_rank: `--local_rank`, which old launchers give; the environment goes first.
        on_gpu: Whether each process trains on a GPU, which becomes its current one.

    Raises:
        ValueError: `--local_rank` without a launcher.
        EnvironmentFault: The processes do not find one another, or there is no GPU for this one;
            or, in the body, another process ended and did not say why.
    """
    world = _place(local_rank)
    if on_gpu:
        _take_gpu(world)
    if not world.is_main:
        setup_logging(level=logging.WARNING)
    if world.size == 1:
        yield world
        return
    world = _connected(world, "cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield world
    except BaseException as fault:
        # What the body made of the connections must be gone before they are closed: where it goes
        # later, torch waits for a thread that waits for Python.
        clear_frames(fault.__traceback__)
        if not is_lost_connection(fault):
            _tell(world, fault, leave=_leave if not on_gpu else None)
            raise
        raise _cause(world, words_of_nccl(fault)) from fault
    _wait_for_all(world)
    _leave()


def _place(local_rank: int) -> World:
    """This process's place, from the environment that launchers set."""
    restarts = (os.environ.get(f"{name}_RESTART_COUNT", "0") for name in ("TORCHELASTIC", "SLURM"))
    is_restart = any(count != "0" for count in restarts)
    if "WORLD_SIZE" not in os.environ:
        if local_rank > 0:
            raise ValueError(
                f"--local_rank {local_rank} is what a launcher gives, and there is none (WORLD_SIZE"
                " is not set): start the processes with torchrun, or leave the flag out"
            )
        return World(is_restart=is_restart)
    try:
        size, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
        local = int(os.environ.get("LOCAL_RANK", max(local_rank, 0)))
    except (KeyError, ValueError) as error:
        raise EnvironmentFault(
            "WORLD_SIZE is set, but it, RANK or LOCAL_RANK is not the number that a launcher sets: "
            "start the processes with torchrun, or unset WORLD_SIZE"
        ) from error
    return World(rank, size, local, is_restart)


def _take_gpu(world: World) -> None:
    """Make the GPU of this process's local rank the current one."""
    count = torch.cuda.device_count()
    if world.local_rank >= count:
        raise EnvironmentFault(
            f"rank {world.rank} is process {world.local_rank} on its machine, counted from 0, and "
            f"there are {count} GPUs: start with --nproc-per-node={count}, or give --no_cuda"
        )
    torch.cuda.set_device(world.local_rank)


def _connected(world: World, backend: str) -> World:
    """The same world once the processes have met."""
    where = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
    try:
        found = _launchers_store(world)
        store = fresh_part(found, world.rank, world.size)
        found.set_timeout(TIMEOUT)
        dist.init_process_group(
            backend,
            store=PrefixStore("group", store),
            rank=world.rank,
            world_size=world.size,
            timeout=TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        raise EnvironmentFault(
            f"the {world.size} processes of this run did not meet at {where}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    world = replace(world, store=PrefixStore("messages", store))
    # A launcher counts its own restarts, not those of the other machines' launchers.
    is_restart = world.is_restart or (world.is_main and found.add("s2s_ft/starts", 1) > 1)
    known = world.gather(is_restart) or []
    return replace(world, is_restart=world.from_main(any(known)))


def _launchers_store(world: World) -> Store:
    """The store that the processes meet in, kept by the launcher or else by rank 0."""
    kept_by_launcher = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
    if world.is_main and not kept_by_launcher and address and port.isdigit():
        # As torch makes it, but not waiting for the others here, where nobody could say who is
        # missing.
        return TCPStore(
            address,
            int(port),
            is_master=True,
            timeout=MEETING,
            wait_for_workers=False,
            multi_tenant=True,
        )
    found: Store = next(rendezvous("env://", timeout=MEETING))[0]
    return found


def fresh_part(store: Store, rank: int, size: int) -> Store:
    """A part of the launcher's store in which no earlier start of the processes has left anything.

    A launcher may keep its store when it starts the processes again, and count the starts on each
    machine in another way. So rank 0 makes up a name, and takes it when every rank has answered to
    it. An answer is good for one start only, since the ranks put names of their own into it.

    Args:
        store: The launcher's.
        rank: Of this process.
        size: Processes, all of which come here.

    Raises:
        RuntimeError: They did not within `MEETING`; says which of them, where that is known.
    """
    own = uuid.uuid4().hex
    if rank == 0:
        name = own
        store.set("s2s_ft/call", name)
        others = [f"s2s_ft/{name}/{other}" for other in range(1, size)]
        if not _comes_true(lambda: store.check(others), MEETING.total_seconds()):
            missing = [key.rsplit("/")[-1] for key in others if not store.check([key])]
            store.set(f"s2s_ft/{name}/missing", ", ".join(missing))
            time.sleep(ALIKE_SECONDS)  # rank 0 may keep the store in which the others look
            raise _not_there(", ".join(missing))
        answers = [store.get(key).decode("ascii") for key in others]
        store.set(f"s2s_ft/{name}/taken", " ".join([own, *answers]))
        return PrefixStore(f"s2s_ft/{name}", store)
    # Longer than rank 0 waits, which knows who is missing.
    end = time.monotonic() + MEETING.total_seconds() + GRACE_SECONDS
    while time.monotonic() < end:
        if not store.check(["s2s_ft/call"]):
            time.sleep(POLL_SECONDS)
            continue
        name = store.get("s2s_ft/call").decode("ascii")
        store.set(f"s2s_ft/{name}/{rank}", own)
        taken, absent = f"s2s_ft/{name}/taken", f"s2s_ft/{name}/missing"
        if store.check([absent]):
            raise _not_there(store.get(absent).decode("ascii"))
        if store.check([taken]) and store.get(taken).decode("ascii").split()[rank] == own:
            return PrefixStore(f"s2s_ft/{name}", store)
        time.sleep(POLL_SECONDS)
    raise _not_there("0")


def _not_there(ranks: str) -> RuntimeError:
    """What to say of ranks that did not come to the first meeting."""
    return RuntimeError(
        f"nothing was heard of rank {ranks} for {MEETING.total_seconds():.0f} s; look at what "
        "these processes said, or whether they were started"
    )


def _wait_for_all(world: World) -> None:
    """Wait until every rank is done: whoever left earlier would close its connections under the
    others. (By the store, since an exchange of tensors just before the connections are closed would
    not be quite over.)
    """
    store = world.store
    assert store is not None
    with suppress(RuntimeError):  # the store went with rank 0, which left after all were done
        store.add(_DONE, 1)
        _comes_true(lambda: store.add(_DONE, 0) >= world.size, TIMEOUT.total_seconds())


def _leave() -> None:
    """Close the connections."""
    if torch.__version__ < "2.8":
        # It waits for gloo's threads without letting go of Python, which they need to let go of the
        # last tensors that they were handed.
        time.sleep(LETTING_GO_SECONDS)
    dist.destroy_process_group()


def _tell(world: World, fault: BaseException, leave: Callable[[], None] | None) -> None:
    """Leave word of a fault for the other processes.

    Args:
        world: The ranks.
        fault: Why this one ends.
        leave: Closes the connections to the others, so that they need not wait any longer; None
            where that would wait itself, for what a failed process never sends (nccl).
    """
    store = world.store
    assert store is not None
    with suppress(RuntimeError):  # the store is gone where the process that kept it ended
        store.compare_set(_FAULT, "", json.dumps(told(fault, world.rank)))
        store.add(_ENDED, 1)
        # The same may come over the others, and they shall say so themselves.
        _comes_true(lambda: store.add(_ENDED, 0) >= world.size, ALIKE_SECONDS)
        if leave is not None:
            leave()
            # Rank 0 may keep the store in which the others look now.
            _comes_true(lambda: store.add(_ENDED, 0) >= world.size, GRACE_SECONDS)


def _cause(world: World, said: str) -> BaseException:
    """Why the connection to another process was lost, and what the library that kept it `said`."""
    store = world.store
    assert store is not None
    with suppress(RuntimeError):
        if _comes_true(lambda: store.check([_FAULT]), GRACE_SECONDS):
            fault = retold(json.loads(store.get(_FAULT)))
            store.add(_ENDED, 1)
            return fault
    return EnvironmentFault(
        f"rank {world.rank} lost the other processes of this run: one of them was killed, or its "
        f"machine went away{f', or NCCL cannot work here (it says: {said})' if said else ''}; the "
        "same command goes on from the newest checkpoint"
    )


def _comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether something happens within some time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True
