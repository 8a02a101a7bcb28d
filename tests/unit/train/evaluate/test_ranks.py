"""That two ranks share a look, and that training does not feel one."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s2s_ft.cli import TrainingFault
from s2s_ft.data.features import build_or_open
from s2s_ft.text import TextCodec
from s2s_ft.train.dev_report import DevReport
from s2s_ft.train.distributed import World
from s2s_ft.train.evaluate import Validator
from s2s_ft.train.feed import TrainingData
from s2s_ft.train.optimizer import make_optimizer
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.step import TrainState, take_updates
from tests.unit.train.evaluate.looks import CPU, Load, Open, a_method, arithmetic, look, nothing


@dataclass
class Meeting:
    """Where two threads that play two ranks exchange what they have."""

    barrier: threading.Barrier
    given: list[Any]


@dataclass
class RankOfTwo:
    """One of two ranks, with the surface of `World`."""

    rank: int
    meeting: Meeting
    size: int = 2

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def exchange(self, value: Any) -> list[Any]:
        """What both gave."""
        self.meeting.given[self.rank] = value
        self.meeting.barrier.wait()
        given = list(self.meeting.given)
        self.meeting.barrier.wait()
        return given

    def add_up(self, tensor: Tensor) -> Tensor:
        return tensor.copy_(sum(each.clone() for each in self.exchange(tensor.clone())))

    def gather(self, value: Any) -> list[Any] | None:
        everything = self.exchange(json.loads(json.dumps(value)))
        return everything if self.is_main else None

    def from_main(self, value: Any) -> Any:
        return json.loads(json.dumps(self.exchange(value)[0]))

    @contextmanager
    def main_first(self) -> Iterator[None]:
        if not self.is_main:
            self.exchange(None)
        yield
        if self.is_main:
            self.exchange(None)


def on_two_ranks(work: Callable[[RankOfTwo], Any]) -> list[Any]:
    """What each of two ranks makes of the same work."""
    meeting = Meeting(threading.Barrier(2, timeout=60), [None, None])
    results: list[Any] = [None, None]

    def play(rank: int) -> None:
        try:
            results[rank] = work(RankOfTwo(rank, meeting))
        except BaseException as fault:
            results[rank] = fault
            meeting.barrier.abort()

    threads = [threading.Thread(target=play, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@pytest.mark.parametrize("batch_size", [3, 16])  # 6 batches for two ranks, and 1
def test_two_ranks_find_together_what_one_finds(
    open_rows: Open, load: Load, batch_size: int
) -> None:
    alone = look(open_rows(eval_batch_size=batch_size), load())
    models = [load(), load()]

    def work(world: RankOfTwo) -> DevReport:
        validator = open_rows(world, eval_batch_size=batch_size)
        assert bool(validator.rows.texts) is world.is_main
        return look(validator, models[world.rank])

    for report in on_two_ranks(work):
        assert dataclasses.replace(report, seconds=alone.seconds) == alone


def test_a_signal_to_one_rank_ends_the_look_of_both(open_rows: Open, load: Load) -> None:
    models = [load(), load()]

    def work(world: RankOfTwo) -> DevReport | None:
        came = 10 if world.rank == 1 else None
        return open_rows(world).look(models[world.rank], arithmetic(), 7, lambda: came)

    assert on_two_ranks(work) == [None, None]


@pytest.mark.parametrize("beam", [0, 2])  # the loss tells, and the search
def test_a_rank_whose_numbers_are_not_finite_ends_the_training_of_both(
    open_rows: Open, load: Load, monkeypatch: pytest.MonkeyPatch, beam: int
) -> None:
    models = [load(), load()]
    with torch.no_grad():
        models[1].encoder.get_input_embeddings().weight.mul_(torch.inf)
    if beam > 0:
        monkeypatch.setattr(models[1], "loss", lambda *_: torch.zeros(()))

    def work(world: RankOfTwo) -> str:
        with pytest.raises(TrainingFault) as fault:
            look(open_rows(world, eval_beam_size=beam), models[world.rank])
        return str(fault.value)

    one, other = on_two_ranks(work)
    assert one == other
    assert one.startswith("after update 7 the model's numbers for --dev_file are not finite (row ")


def test_training_does_not_feel_a_look(
    open_rows: Open, load: Load, codec: TextCodec, data_file: Path, tmp_path: Path
) -> None:
    store = build_or_open(data_file, codec, folder=tmp_path / "features")
    schedule = Schedule(total_steps=5, steps_per_epoch=4, global_batch_size=4, warmup_steps=0)
    data = TrainingData(
        store=store,
        method=a_method("pseudo_mask", codec),
        seed=3,
        micro_batch_size=2,
        device=CPU,
    )

    def trained(validator: Validator | None) -> dict[str, Tensor]:
        torch.manual_seed(1)
        model = load()
        state = TrainState(
            model=model,
            network=model,
            optimizer=make_optimizer(model.named_parameters(), weight_decay=0.01, epsilon=1e-8),
            precision=arithmetic(),
            schedule=schedule,
            peak_learning_rate=0.01,
            max_grad_norm=1.0,
            label_smoothing=0.1,
            seed=3,
            world=World(),
        )
        for _ in take_updates(state, data, wait_at=lambda _: True, signal=nothing):
            if validator is not None:
                look(validator, model)
        return model.state_dict()

    without, looked_at = trained(None), trained(open_rows(eval_beam_size=2))
    assert all(torch.equal(value, looked_at[name]) for name, value in without.items())
