"""Whose checkpoint is gone on with: only that of the same run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from s2s_ft.model.native.trial import is_available
from s2s_ft.storage.checkpoint_record import RECORD, read_record
from s2s_ft.train.arithmetic import attention_of
from s2s_ft.train.checkpoint import OPTIMIZER, save_optimizer
from s2s_ft.train.resume import restore_checkpoint
from tests.unit.train.resume.states import Ready, save

OTHER_RUNS: dict[str, tuple[dict[str, Any], str]] = {
    "method": ({"fine_tuning_method": "causal"}, "--fine_tuning_method"),
    "corruption": ({"target_mask_prob": 0.7}, "--target_mask_prob"),
    "lengths": ({"max_source_seq_length": 12}, "--max_source_seq_length"),
    "seed": ({"seed": 1}, "--seed"),
    "examples": ({"num_train_examples": 12}, "--num_train_examples"),
    "update": ({"per_gpu_train_batch_size": 1}, "--global_batch_size"),
    "dropout": ({"dropout": 0.2}, "--dropout"),
    "trained": ({"fix_word_embedding": True}, "--fix_word_embedding"),
    "adapter": ({"peft": "lora"}, "adapter was none, now .*--peft"),
}


@pytest.mark.parametrize("kind", OTHER_RUNS)
def test_another_run_is_refused(kind: str, ready: Ready, tmp_path: Path) -> None:
    changes, message = OTHER_RUNS[kind]
    folder = save(ready(), tmp_path / "out")
    other = ready(**changes)
    with pytest.raises(
        ValueError, match=rf"cannot resume from .*{message}.*--overwrite_output_dir"
    ):
        restore_checkpoint(folder, other.state, other.facts)


def test_other_weights_of_the_same_shape_are_refused(
    ready: Ready, tmp_path: Path, tiny_checkpoint: Callable[[str], Path]
) -> None:
    """Those beside the embeddings, too."""
    folder = save(ready(), tmp_path / "out")
    encoder = tmp_path / "encoder"
    shutil.copytree(tiny_checkpoint("bert"), encoder)
    content = bytearray((encoder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (encoder / "model.safetensors").write_bytes(content)
    other = ready(model_name_or_path=str(encoder))
    with pytest.raises(ValueError, match=r"pretrained weights was .*--model_name_or_path"):
        restore_checkpoint(folder, other.state, other.facts)


def test_the_same_rows_under_another_name_are_the_same_run(
    ready: Ready, tmp_path: Path, data_file: Path
) -> None:
    folder = save(ready(), tmp_path / "out")
    moved = Path(shutil.copy(data_file, tmp_path / "moved.jsonl"))
    other = ready(train_file=str(moved))
    restore_checkpoint(folder, other.state, other.facts)


def test_what_may_change_is_told(
    ready: Ready, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """How an update is cut, rates, length; who shares the work, and what computes attention."""
    folder = save(ready(), tmp_path / "out")
    record = read_record(folder)
    record["processes"] = 2
    record["threads"] = 64
    record["attention"] = "another kernel"
    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")
    other = ready(
        per_gpu_train_batch_size=4,
        gradient_accumulation_steps=1,
        layer_decay=0.9,
        unfreeze_steps=3,
        num_training_steps=9,
        local_rank=0,
        save_steps=1,
        overwrite_output_dir=True,
        output_dir=str(tmp_path / "moved"),
    )
    restore_checkpoint(folder, other.state, other.facts)
    now = attention_of(other.state.model, torch.device("cpu"))
    for told in (
        "optimization per_gpu_train_batch_size: 2 before, 4 now",
        "optimization gradient_accumulation_steps: 2 before, 1 now",
        "optimization layer_decay: 1.0 before, 0.9 now",
        "optimization unfreeze_steps: 0 before, 3 now",
        "optimization num_training_steps: 6 before, 9 now",
        "checkpoint save_steps: 2 before, 1 now",
        "another number of processes: 2 before, 1 now; results may round differently",
        f"another number of threads: 64 before, {torch.get_num_threads()} now; results may",
        f"another attention: another kernel before, {now} now",
    ):
        assert told in caplog.text
    assert "local_rank" not in caplog.text
    assert "output_dir" not in caplog.text
    assert caplog.text.count("resuming with another") == 9


@pytest.mark.skipif(not is_available(), reason="no C compiler here")
def test_checkpoints_of_before_there_was_a_kernel(
    ready: Ready, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save(ready(), tmp_path / "out")
    record = read_record(folder)
    del record["attention"]
    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")
    other = ready()
    restore_checkpoint(folder, other.state, other.facts)
    assert "attention: torch's operations before, a compiled kernel now" in caplog.text


def test_checkpoints_of_before_threads_were_counted(
    ready: Ready, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save(ready(), tmp_path / "out")
    record = read_record(folder)
    assert record.pop("threads") == torch.get_num_threads()
    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")
    other = ready()
    restore_checkpoint(folder, other.state, other.facts)
    assert "resuming with another" not in caplog.text


@pytest.mark.parametrize(("found", "word"), [(1, "older"), (3, "newer")])
def test_another_format_is_refused_in_one_line(
    found: int, word: str, ready: Ready, tmp_path: Path
) -> None:
    run = ready()
    folder = save(run, tmp_path / "out")
    record = {**read_record(folder), "format": found}
    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")
    message = rf"cannot resume from .*format {found} of an? {word} version.*--overwrite_output_dir"
    with pytest.raises(ValueError, match=message) as caught:
        restore_checkpoint(folder, run.state, run.facts)
    assert "\n" not in str(caught.value)


def test_a_state_of_what_is_not_trained_is_refused(ready: Ready, tmp_path: Path) -> None:
    run = ready()
    folder = save(run, tmp_path / "out")
    save_optimizer(folder, {"encoder.former": {"step": torch.tensor(1.0)}})
    with pytest.raises(
        ValueError, match=rf"{OPTIMIZER} has a state of encoder\.former.*not trained"
    ):
        restore_checkpoint(folder, run.state, run.facts)
