"""Runs with a teacher: no say changes nothing, a resumed run is the uninterrupted one, and a
teacher that does not fit is refused.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from s2s_ft.model.pretrained import load_for_training, save
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.conftest import write_checkpoint
from tests.unit.train.runs import STEPS, Train, assert_same_checkpoint, interrupt_at, metrics

LAST = f"ckpt-{STEPS}"


@pytest.fixture
def teacher(tmp_path: Path, tiny_tokenizer_folder: Path) -> Callable[..., Path]:
    """A function that gives a checkpoint as training saves it; larger than the student."""

    def make(**changes: Any) -> Path:
        larger = {"hidden_size": 48, "num_hidden_layers": 3, **changes}
        folder = tmp_path / "pretrained"
        pretrained = str(write_checkpoint(folder, "bert", tiny_tokenizer_folder, **larger))
        model = load_for_training(
            ModelOptions(model_name_or_path=pretrained),
            codec := TextCodec.load(pretrained),
            max_source_length=14,
            max_target_length=6,
        )
        (tmp_path / "teacher").mkdir()
        save(model, codec, tmp_path / "teacher")
        return tmp_path / "teacher"

    return make


def test_a_teacher_without_a_say_changes_nothing(
    run: Train, teacher: Callable[..., Path], output_dir: Path, tmp_path: Path
) -> None:
    assert run() == 0
    other = tmp_path / "other"
    assert run(output_dir=str(other), teacher_model=str(teacher()), distill_alpha=0.0) == 0
    assert_same_checkpoint(output_dir / LAST, other / LAST)


def test_a_teacher_with_a_say_changes_the_run(
    run: Train, teacher: Callable[..., Path], output_dir: Path, tmp_path: Path
) -> None:
    folder = str(teacher())
    assert run() == 0
    other = tmp_path / "other"
    assert run(output_dir=str(other), teacher_model=folder) == 0
    plain, taught = (load_file(path / LAST / "model.safetensors") for path in (output_dir, other))
    assert plain.keys() == taught.keys()
    assert any(not torch.equal(value, taught[key]) for key, value in plain.items())
    assert metrics(other)[-1]["loss"] != metrics(output_dir)[-1]["loss"]


def test_cutting_an_update_otherwise_is_the_same_update(
    run: Train, teacher: Callable[..., Path], output_dir: Path, tmp_path: Path
) -> None:
    taught_by, other = str(teacher()), tmp_path / "other"
    assert run(teacher_model=taught_by, dropout=0.0) == 0
    assert (
        run(
            output_dir=str(other),
            teacher_model=taught_by,
            dropout=0.0,
            per_gpu_train_batch_size=4,
            gradient_accumulation_steps=1,
        )
        == 0
    )
    one, two = ([line["loss"] for line in metrics(folder)] for folder in (output_dir, other))
    assert one == pytest.approx(two, rel=1e-4)


def test_a_resumed_run_is_the_uninterrupted_one(
    run: Train,
    teacher: Callable[..., Path],
    output_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags: dict[str, Any] = {"teacher_model": str(teacher()), "distill_temperature": 2.0}
    assert run(**flags) == 0
    other = str(tmp_path / "other")
    with monkeypatch.context() as interrupted:
        interrupt_at(interrupted, 3, signal.SIGTERM)
        assert run(output_dir=other, **flags) == 128 + signal.SIGTERM
    assert run(output_dir=other, **flags) == 0
    assert_same_checkpoint(output_dir / LAST, Path(other) / LAST)


def test_another_teacher_is_another_run(
    run: Train, teacher: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(teacher())
    with monkeypatch.context() as interrupted:
        interrupt_at(interrupted, 3, signal.SIGTERM)
        assert run(teacher_model=folder) == 128 + signal.SIGTERM
    with pytest.raises(ValueError, match=r"teacher alpha was 0.5, now 0.25.*--distill_alpha"):
        run(teacher_model=folder, distill_alpha=0.25)
    with pytest.raises(ValueError, match=r"teacher was .*, now none.*--teacher_model"):
        run()


def test_a_teacher_that_does_not_fit_is_refused(
    run: Train, teacher: Callable[..., Path], tmp_path: Path
) -> None:
    folder = teacher()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ckpt-5").symlink_to(folder)
    with pytest.raises(ValueError, match=r"^--teacher_model .*run is a training folder; name"):
        run(teacher_model=str(tmp_path / "run"))
    with pytest.raises(ValueError, match=r"--teacher_model .*method pseudo_mask.* of causal"):
        run(teacher_model=str(folder), fine_tuning_method="causal")
    with pytest.raises(ValueError, match=r"has 64 positions, and source and target need 70"):
        run(teacher_model=str(folder), max_source_seq_length=64, max_target_seq_length=6)
    tokenizer = folder / "tokenizer.json"
    text = tokenizer.read_text(encoding="utf-8")
    tokenizer.write_text(text.replace('"games"', '"gamez"'), encoding="utf-8")
    with pytest.raises(ValueError, match=r"--teacher_model .* has another tokenizer"):
        run(teacher_model=str(folder))
    with pytest.raises(ValueError, match=r"gone"):
        run(teacher_model=str(tmp_path / "gone"))


def test_a_teacher_of_other_size_is_refused(run: Train, teacher: Callable[..., Path]) -> None:
    folder = str(teacher(vocab_size=60))
    with pytest.raises(ValueError, match=r"predicts 60 tokens and the student 46"):
        run(teacher_model=folder)
