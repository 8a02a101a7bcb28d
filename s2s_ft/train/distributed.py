"""The processes (ranks) that train together, and what they tell one another.

    add_up       every rank gives a tensor, every rank gets the sum
    from_main    rank 0 gives a value, every rank gets it
    gather       every rank gives a value, rank 0 gets all of them
    main_first   rank 0 does something, then the others do, however long it takes

Notable: a GPU's tensors travel by nccl; those of a CPU, and every value, by gloo. Values are JSON,
nothing is pickled. In `main_first` the others wait for a word in the launcher's key-value store,
where no timeout runs: rank 0 may tokenise for hours. How processes find one another and end
together is told in `launch.py`.
"""

from __future__ import annotations

import inspect
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import Store
from torch.nn.parallel import DistributedDataParallel

from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.train.faults import retold, told
from s2s_ft.train.sharding import shard

Value = TypeVar("Value")

POLL_SECONDS = 0.05
"""Between two looks into the store."""


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from one of them; one process alone is a world, too.

    Attributes:
        rank: Number of this process among all, from 0.
        size: Processes.
        local_rank: Number of this process on its machine, from 0: the GPU it uses.
        is_restart: Whether a launcher or a cluster started the same command again by itself.
        store: The launcher's key-value store; None for one process.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    is_restart: bool = False
    store: Store | None = field(default=None, repr=False, compare=False)
    _turns: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes and tells."""
        return self.rank == 0

    def add_up(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the ranks, in place; on a GPU the host does not wait for it.

        Args:
            tensor: Of the same shape and type on every rank.

        Returns:
            The same tensor.
        """
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def from_main(self, value: Value) -> Value:
        """What rank 0 has, on every rank: a value that JSON can hold, with lists for tuples."""
        if self.size == 1:
            return value
        content = _packed(value) if self.is_main else torch.empty(0, dtype=torch.uint8)
        length = torch.tensor([len(content)])
        dist.broadcast(length, 0)
        if not self.is_main:
            content = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, 0)
        received: Value = _unpacked(content)
        return received

    def gather(self, value: Value) -> list[Value] | None:
        """What each rank has, in the order of ranks, on rank 0; None on the others.

        Args:
            value: That JSON can hold; lists come for tuples.
        """
        if self.size == 1:
            return [value]
        content = _packed(value)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(content)]))
        room = torch.zeros(int(max(lengths)), dtype=torch.uint8)
        room[: len(content)] = content
        rooms = [torch.empty_like(room) for _ in range(self.size)] if self.is_main else None
        dist.gather(room, rooms)
        if rooms is None:
            return None
        return [_unpacked(each[: int(size)]) for each, size in zip(rooms, lengths, strict=True)]

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Rank 0 does the body, then the others do.

        Raises:
            ValueError, EnvironmentFault, …: On every rank what rank 0 raised in the body; the
                others do not enter it then.
        """
        if self.store is None:
            yield
            return
        turn = f"main_first/{next(self._turns)}"
        if not self.is_main:
            while not self.store.check([turn]):
                time.sleep(POLL_SECONDS)
            fault = json.loads(self.store.get(turn))
            if fault is not None:
                raise retold(fault)
            yield
            return
        try:
            yield
        except BaseException as fault:
            self.store.set(turn, json.dumps(told(fault, self.rank)))
            raise
        self.store.set(turn, json.dumps(None))


def wrap(model: Seq2SeqModel, world: World, device: torch.device, *, fsdp: bool) -> nn.Module:
    """What is called as `network(batch, label_smoothing)` so that the ranks' gradients meet.

    Args:
        model: Every parameter that may ever be trained is trainable; it is brought to the device.
        world: The ranks.
        device: Of this rank.
        fsdp: Spread weights, gradients and optimizer over the ranks: the model is changed, and
            optimizers are to be made of what its parameters are afterwards. No device
            ever has all weights; all gradients it has before an update's last micro-batch.

    Returns:
        The model itself for one rank or with FSDP, else the model in `DistributedDataParallel`.
        Both average the gradients over the ranks.
    """
    if fsdp and world.size > 1:
        return shard(model, device, world.size)
    model.to(device)
    if world.size == 1:
        return model
    # Unused parameters are looked for because buckets are then never built anew: the order of
    # summation stays that of the first update in a resumed run, too. And layers may freeze.
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
        **_without_buffers(),
    )


def _without_buffers() -> dict[str, Any]:
    """Keyword that keeps buffers, which never change here, from being sent before every pass."""
    known = inspect.signature(DistributedDataParallel).parameters
    newer = "forward_sync_buffers" in known
    return {"forward_sync_buffers" if newer else "broadcast_buffers": False}


def _packed(value: Any) -> Tensor:
    """[length] uint8, a value as JSON."""
    return torch.frombuffer(bytearray(json.dumps(value).encode("utf-8")), dtype=torch.uint8)


def _unpacked(content: Tensor) -> Any:
    """The value that `_packed` took."""
    return json.loads(content.numpy().tobytes().decode("utf-8"))
