"""Where the micro-batches of each update come from: a pure function of seed and update, made ahead.

    update s -> epoch, position -> rows of the update, from short to long
             -> cut by number of examples and by tokens -> | 0 | 1 | 2 | 3 | 4 |
             -> dealt to two ranks                 rank 0:   0   2   4
                                                   rank 1:   1   3   (3, weight 0)

Notable: a rank that gets fewer micro-batches repeats its last (or the update's first) one with
weight 0, since all ranks must make the same number of passes to meet one another. Updates are laid
out by a thread while earlier ones are computed; the thread draws nothing from shared generators,
so how far it is ahead changes nothing.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from s2s_ft.data.batches import cut, epoch_batches, example_generator
from s2s_ft.data.features import FeatureStore
from s2s_ft.layout import Batch, IntArray
from s2s_ft.methods import Method
from s2s_ft.train.schedule import Schedule

AHEAD = 2
"""Updates that are laid out before they are asked for."""


@dataclass(frozen=True)
class MicroBatch:
    """A part of an update that goes through the model at once.

    Attributes:
        indices: [B] int64 row numbers of the examples in the training data, from 0.
        number: Of the micro-batch in its update, counted over all ranks, from 0.
        batch: The examples, laid out, on the device.
        weight: 1, or 0 for a pass that only keeps this rank in step with the others.
    """

    indices: IntArray
    number: int
    batch: Batch
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The examples of a run and how they become micro-batches.

    Attributes:
        store: Token ids of every example.
        method: Corrupts and lays out.
        seed: With the epoch it fixes the order, with epoch and row number the corruption
            of an example.
        micro_batch_size: Most examples that go through the model at once.
        device: Where the batches go.
        rank: Number of this process among those that train together, from 0.
        size: How many they are.
        max_tokens: Most tokens that go through the model at once, or None.
    """

    store: FeatureStore
    method: Method
    seed: int
    micro_batch_size: int
    device: torch.device
    rank: int = 0
    size: int = 1
    max_tokens: int | None = None

    def updates(self, schedule: Schedule, first: int) -> Iterator[list[MicroBatch]]:
        """This rank's micro-batches of update `first` and of every one after it in the schedule."""
        costs = self._costs()

        def all_updates() -> Iterator[list[MicroBatch]]:
            epoch, position = schedule.locate(first)
            remaining = schedule.total_steps - first
            while remaining > 0:
                batches = epoch_batches(costs, schedule.global_batch_size, self.seed, epoch)
                for indices in batches[position : position + remaining]:
                    yield self._micro_batches(indices, epoch, costs)
                remaining -= len(batches) - position
                epoch, position = epoch + 1, 0

        return made_ahead(all_updates(), AHEAD)

    def micro_batches(self, indices: IntArray, epoch: int) -> list[MicroBatch]:
        """Cut, corrupt and lay out this rank's part of one update.

        Args:
            indices: Row numbers of all examples of the update.
            epoch: Counted from 0.
        """
        return self._micro_batches(indices, epoch, self._costs())

    def _costs(self) -> IntArray:
        """[N] tokens of each row of the data, as laid out."""
        return self.method.row_lengths(self.store.source_lengths, self.store.target_lengths)

    def _micro_batches(self, indices: IntArray, epoch: int, costs: IntArray) -> list[MicroBatch]:
        """See `micro_batches`."""
        parts = cut(indices, costs[indices], self.micro_batch_size, self.max_tokens)
        numbers = range(self.rank, len(parts), self.size)
        made = [MicroBatch(parts[k], k, self._lay_out(parts[k], epoch)) for k in numbers]
        passes = -(-len(parts) // self.size)
        if len(made) < passes:
            spare = made[-1] if made else MicroBatch(parts[0], 0, self._lay_out(parts[0], epoch))
            made.append(MicroBatch(spare.indices, spare.number, spare.batch, weight=0.0))
        return made

    def _lay_out(self, indices: IntArray, epoch: int) -> Batch:
        """One micro-batch, each example corrupted by its own random stream."""
        examples = [
            self.method.corrupt(
                self.store.source(index),
                self.store.target(index),
                example_generator(self.seed, epoch, index),
            )
            for index in map(int, indices)
        ]
        return self.method.lay_out(examples).to(self.device)


@dataclass(frozen=True)
class _Failure:
    """What a thread could not do."""

    error: BaseException


def made_ahead(items: Iterator[list[MicroBatch]], ahead: int) -> Iterator[list[MicroBatch]]:
    """The same items, made by a thread up to `ahead` items before they are asked for.

    An error of the thread is raised where the item would have come. Closing the iterator ends it.
    """
    line: queue.Queue[list[MicroBatch] | _Failure | None] = queue.Queue(ahead)
    over = threading.Event()

    def put(item: list[MicroBatch] | _Failure | None) -> None:
        while not over.is_set():
            try:
                return line.put(item, timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if over.is_set():
                    return
            put(None)
        except BaseException as error:
            put(_Failure(error))

    thread = threading.Thread(target=work, name="feed", daemon=True)
    thread.start()
    try:
        while (item := line.get()) is not None:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        over.set()
        thread.join()
