"""Looks at held-out rows: what is measured, that ranks share it, and that training does not feel
it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s2s_ft.cli import EnvironmentFault
from s2s_ft.data.features import build_or_open
from s2s_ft.decode.run import decode
from s2s_ft.evaluation.options import ScoringOptions
from s2s_ft.evaluation.run import evaluate
from s2s_ft.methods import Method, method_named
from s2s_ft.model import pretrained
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import DecodeOptions, TrainOptions, build
from s2s_ft.text import TextCodec
from s2s_ft.train.dev_report import SCORES, DevReport
from s2s_ft.train.distributed import World
from s2s_ft.train.evaluate import Validator
from s2s_ft.train.feed import TrainingData
from s2s_ft.train.optimizer import make_optimizer
from s2s_ft.train.precision import Precision, choose_precision
from s2s_ft.train.schedule import Schedule
from s2s_ft.train.step import TrainState, take_updates

CPU = torch.device("cpu")
SOURCE, TARGET = 14, 6
METHODS = ("causal", "masked", "pseudo_mask")

Open = Callable[..., Validator]
Load = Callable[..., Seq2SeqModel]


@pytest.fixture
def options(
    data_file: Path, tmp_path: Path, tiny_checkpoint: Callable[[str], Path]
) -> Callable[..., TrainOptions]:
    """A function that gives the options of a run whose held-out rows are its training rows."""

    def make(**flags: Any) -> TrainOptions:
        usual: dict[str, Any] = {
            "train_file": str(data_file),
            "dev_file": str(data_file),
            "model_name_or_path": str(tiny_checkpoint("bert")),
            "output_dir": str(tmp_path / "out"),
            "max_source_seq_length": SOURCE,
            "max_target_seq_length": TARGET,
            "eval_batch_size": 4,
        }
        return build(TrainOptions, {**usual, **flags})

    return make


@pytest.fixture
def open_rows(
    options: Callable[..., TrainOptions], codec: TextCodec, tmp_path: Path
) -> Callable[..., Validator | None]:
    """A function that opens the held-out rows; it takes flags by name."""

    def opened(world: Any = None, method: str = "pseudo_mask", **flags: Any) -> Validator | None:
        how = a_method(method, codec)
        return Validator.of(
            options(**flags), codec, how, world or World(), CPU, tmp_path / "features"
        )

    return opened


@pytest.fixture
def load(options: Callable[..., TrainOptions], codec: TextCodec) -> Load:
    """A function that loads the tiny BERT in training mode, with dropout."""

    def loaded(method: str = "pseudo_mask") -> Seq2SeqModel:
        flags = options(fine_tuning_method=method, dropout=0.3).model
        return pretrained.load_for_training(
            flags, codec, max_source_length=SOURCE, max_target_length=TARGET
        )

    return loaded


def a_method(name: str, codec: TextCodec) -> Method:
    return method_named(
        name, special=codec.special, max_source_length=SOURCE, max_target_length=TARGET
    )


def arithmetic(*, bf16: bool = False) -> Precision:
    return choose_precision(CPU, fp16=False, bf16=bf16, fp16_opt_level="O1")


def nothing() -> None:
    """No signal has come."""


def look(validator: Validator, model: Seq2SeqModel, **changes: Any) -> DevReport:
    report = validator.look(model, changes.get("precision", arithmetic()), 7, nothing)
    assert report is not None
    return report


def loss_by_steps(validator: Validator, model: Seq2SeqModel) -> float:
    """The loss as decoding meets it: one token of the reference after another."""
    method, store = validator.rows.method, validator.rows.store
    losses = []
    model.eval()
    for row in range(len(store)):
        source = torch.from_numpy(method.source(store.source(row))).unsqueeze(0)
        target = [*store.target(row).tolist()[: TARGET - 1], method.special.sep]
        cache = model.encode(source, torch.tensor([source.shape[1]]), capacity=TARGET + 1)
        last: Tensor | None = None
        for token in target:
            question = method.question(last, 1)
            scores = model.step(question, cache, num_unkept=method.num_unkept).log_softmax(-1)
            losses.append(-float(scores[0, 0, token]))
            cache.reorder(torch.zeros(1, 1, dtype=torch.long))
            last = torch.tensor([[token]])
    model.train()
    return math.fsum(losses) / len(losses)


@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_loss_is_that_of_the_questions_decoding_asks(
    open_rows: Open, load: Load, name: str
) -> None:
    model, validator = load(name), open_rows(method=name, eval_beam_size=0)
    assert look(validator, model).loss == pytest.approx(loss_by_steps(validator, model), rel=1e-5)


def test_loss_is_the_same_at_every_look_and_for_every_batch_size(
    open_rows: Open, load: Load
) -> None:
    model = load()
    first = look(open_rows(), model)
    torch.manual_seed(99)
    assert look(open_rows(), model).loss == first.loss
    other = look(open_rows(eval_batch_size=5), model)
    assert other.loss == pytest.approx(first.loss, rel=1e-6)
    assert other.samples == first.samples


@pytest.mark.parametrize("name", METHODS)
def test_texts_are_those_of_decode_seq2seq(
    open_rows: Open, load: Load, codec: TextCodec, data_file: Path, tmp_path: Path, name: str
) -> None:
    model = load(name)
    search = {"eval_beam_size": 3, "eval_length_penalty": 0.7}
    report = look(open_rows(method=name, num_samples=100, **search), model)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    pretrained.save(model, codec, folder)
    flags = {"model_path": str(folder), "input_file": str(data_file), "no_cuda": True}
    flags |= {"output_file": str(tmp_path / "texts"), "beam_size": 3, "length_penalty": 0.7}
    assert decode(build(DecodeOptions, flags)) == 0
    decoded = (tmp_path / "texts").read_text(encoding="utf-8").split("\n")[:-1]
    assert [sample.generated for sample in report.samples] == decoded
    assert [sample.row for sample in report.samples] == list(range(16))
    rows = [json.loads(line) for line in data_file.read_text(encoding="utf-8").splitlines()]
    assert [sample.source for sample in report.samples] == [row["src"] for row in rows]
    references = [row["tgt"] for row in rows]
    expected = evaluate(decoded, references, ScoringOptions(num_bootstrap=1))
    assert report.scores == {name: expected.value(name) for name in SCORES}


def test_a_look_that_only_measures_the_loss(open_rows: Open, load: Load) -> None:
    report = look(open_rows(eval_beam_size=0), load())
    assert (report.scores, report.samples) == ({}, ())
    assert (report.step, report.num_examples) == (7, 16)
    assert report.seconds > 0


def test_in_bfloat16(open_rows: Open, load: Load) -> None:
    model = load()
    lower = look(open_rows(), model, precision=arithmetic(bf16=True))
    assert lower.loss != (exact := look(open_rows(), model)).loss
    assert lower.loss == pytest.approx(exact.loss, rel=0.05)


def test_samples_are_spread_and_rows_may_be_fewer(open_rows: Open, load: Load) -> None:
    report = look(open_rows(num_samples=3, num_dev_examples=10), load())
    assert [sample.row for sample in report.samples] == [1, 5, 8]
    assert report.num_examples == 10
    report = look(open_rows(num_samples=9, num_dev_examples=2), load())
    assert [sample.row for sample in report.samples] == [0, 1]
    assert look(open_rows(num_samples=0), load()).samples == ()


def test_a_report_survives_json(open_rows: Open, load: Load) -> None:
    report = look(open_rows(), load())
    assert DevReport.from_dict(json.loads(json.dumps(dataclasses.asdict(report)))) == report
    assert report.value("loss") == report.loss
    assert report.value("bleu") == report.scores["bleu"]


def test_rows_that_are_lists_of_tokens(open_rows: Open, load: Load, tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    file.write_text('{"src": ["a", "tool"], "tgt": ["tool"]}\n', encoding="utf-8")
    (sample,) = look(open_rows(dev_file=str(file)), load()).samples
    assert (sample.source, sample.reference) == ("a tool", "tool")


def test_without_a_file_there_is_nothing_to_look_at(open_rows: Callable[..., Any]) -> None:
    assert open_rows(dev_file=None) is None


def test_a_file_that_is_not_there(open_rows: Open) -> None:
    with pytest.raises(ValueError, match=r"--dev_file nowhere\.jsonl: there is no such file"):
        open_rows(dev_file="nowhere.jsonl")


@pytest.mark.parametrize(
    ("eval_steps", "due"), [(0, [4, 8, 10]), (3, [3, 6, 9, 10]), (50, [10]), (5, [5, 10])]
)
def test_when_to_look(open_rows: Open, eval_steps: int, due: list[int]) -> None:
    schedule = Schedule(total_steps=10, steps_per_epoch=4, global_batch_size=4, warmup_steps=0)
    validator = open_rows(eval_steps=eval_steps)
    assert [step for step in range(1, 11) if validator.is_due(step, schedule)] == due


def test_a_signal_ends_a_look_between_two_batches(open_rows: Open, load: Load) -> None:
    model, asked = load(), []

    def stop() -> int | None:
        asked.append(1)
        return 15 if len(asked) == 3 else None

    assert open_rows().look(model, arithmetic(), 7, stop) is None
    assert len(asked) == 3
    assert model.training


def test_a_full_memory_is_told_with_the_flags_to_lower(
    open_rows: Open, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load()

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "encode", full)
    with pytest.raises(EnvironmentFault, match=r"--eval_batch_size \(4\).*--eval_beam_size \(2\)"):
        look(open_rows(eval_beam_size=2), model)
    assert model.training


def test_a_tracker_starts_anew_when_other_things_are_measured(open_rows: Open) -> None:
    tracker = open_rows().tracker()
    tracker.best_value, tracker.best_step, tracker.last_step = 1.0, 5, 5
    saved = json.loads(json.dumps(tracker.to_dict()))
    assert open_rows().tracker(saved) == tracker
    for change in ({"eval_beam_size": 2}, {"num_dev_examples": 3}, {"eval_metric": "bleu"}):
        other = open_rows(**change).tracker(saved)
        assert (other.best_value, other.last_step) == (None, 5)


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
