"""Looks at held-out rows: what is measured, when, and on which rows."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode.run import decode
from s2s_ft.evaluation.options import ScoringOptions
from s2s_ft.evaluation.run import evaluate
from s2s_ft.model import pretrained
from s2s_ft.model.columns import CacheShape
from s2s_ft.model.distillation import Teacher
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import DecodeOptions, build
from s2s_ft.text import TextCodec
from s2s_ft.train.dev_report import SCORES, DevReport
from s2s_ft.train.evaluate import Validator
from s2s_ft.train.schedule import Schedule
from tests.unit.train.evaluate.looks import METHODS, TARGET, Load, Open, arithmetic, look


def loss_by_steps(validator: Validator, model: Seq2SeqModel) -> float:
    """The loss as decoding meets it: one token of the reference after another."""
    method, store = validator.rows.method, validator.rows.store
    losses = []
    model.eval()
    for row in range(len(store)):
        source = torch.from_numpy(method.source(store.source(row)))
        target = [*store.target(row).tolist()[: TARGET - 1], method.special.sep]
        first = torch.cat([source, method.question(None, 1)[0, 0]]).unsqueeze(0)
        unkept = method.num_unkept
        cache = model.new_cache(CacheShape(num_beams=1, num_rows=1 + unkept, num_steps=TARGET))
        logits = model.encode(first, [len(source)], cache, num_unkept=unkept)
        for place, token in enumerate(target):
            if place > 0:
                question = method.question(torch.tensor([[target[place - 1]]]), 1)
                logits = model.step(question, cache, num_unkept=unkept)
            losses.append(-float(logits.log_softmax(-1)[0, 0, token]))
            cache.reorder(torch.zeros(1, 1, dtype=torch.long))
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


def test_a_teacher_has_no_say_in_a_look(open_rows: Open, load: Load) -> None:
    model = load()
    expected = look(open_rows(), model)
    model.teacher = Teacher(load().eval(), alpha=1.0, temperature=2.0)
    assert look(open_rows(), model).loss == expected.loss
    assert model.teacher is not None


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
    file.write_text('{"src": ["a", "tool", "##s"], "tgt": ["tool", "##s"]}\n', encoding="utf-8")
    (sample,) = look(open_rows(dev_file=str(file)), load()).samples
    assert (sample.source, sample.reference) == ("a tools", "tools")


def test_without_a_file_there_is_nothing_to_look_at(open_rows: Callable[..., Any]) -> None:
    assert open_rows(dev_file=None, eval_batch_size=32) is None


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
