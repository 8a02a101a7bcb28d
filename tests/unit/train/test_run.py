"""Whole runs of a tiny encoder: what they leave, and that stopping and going on changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from s2s_ft.cli import EnvironmentFault, TrainingFault, parse
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.options import TrainOptions, as_dict
from s2s_ft.train.optimizer import set_learning_rate
from tests.unit.train.runs import (
    STEPS,
    Train,
    assert_same_checkpoint,
    checkpoints,
    interrupt_at,
    metrics,
    without_times,
)


def test_a_run_leaves_what_users_need(run: Train, output_dir: Path) -> None:
    assert run(save_steps=4) == 0
    assert checkpoints(output_dir) == {"ckpt-4", "ckpt-6"}
    assert [line["step"] for line in metrics(output_dir)] == [2, 4, 6]
    assert list((output_dir / "tensorboard").iterdir())
    assert list((output_dir / "features").iterdir())
    path = output_dir / "train_options.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["schedule"]["total_steps"] == STEPS
    assert told["data"]["max_target_seq_length"] == 6
    again = as_dict(parse(TrainOptions, ["--config", str(path)], "run_seq2seq.py", ""))
    assert told == {**again, "schedule": told["schedule"], "batches": told["batches"]}


def test_a_checkpoint_opens_elsewhere(run: Train, output_dir: Path) -> None:
    run()
    folder = output_dir / f"ckpt-{STEPS}"
    encoder = AutoModelForMaskedLM.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("a system")["input_ids"]
    model = load_finetuned(str(folder))
    assert model.settings.method == "pseudo_mask"
    words = encoder.get_input_embeddings().weight
    assert torch.equal(words, model.encoder.get_input_embeddings().weight)


def test_training_changes_the_weights_and_lowers_the_loss(run: Train, output_dir: Path) -> None:
    run(num_training_steps=40, logging_steps=10, learning_rate=5e-3, dropout=0.0)
    losses = [line["loss"] for line in metrics(output_dir)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("method", ["causal", "masked", "pseudo_mask"])
@pytest.mark.parametrize("stop", [1, 2, 4])
def test_stopping_and_going_on_changes_no_bit(
    method: str, stop: int, run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(output_dir=str(whole), fine_tuning_method=method) == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, stop, signal.SIGTERM)
        code = run(output_dir=str(parts), fine_tuning_method=method)
    assert code == 128 + signal.SIGTERM
    # An update that was on its way already is not thrown away.
    assert checkpoints(parts) in ({f"ckpt-{stop}"}, {f"ckpt-{stop + 1}"})
    assert run(output_dir=str(parts), fine_tuning_method=method) == 0
    assert_same_checkpoint(whole / f"ckpt-{STEPS}", parts / f"ckpt-{STEPS}")
    lines = [without_times(line) for line in metrics(whole)]
    assert [without_times(line) for line in metrics(parts)] == lines


def test_a_crash_costs_only_what_came_after_the_checkpoint(
    run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(output_dir=str(whole), save_steps=3)

    updates = 0

    def crash(optimizer: Any, learning_rate: float) -> None:
        nonlocal updates
        updates += 1
        if updates == 6:
            raise KeyError
        set_learning_rate(optimizer, learning_rate)

    with monkeypatch.context() as patch:
        patch.setattr("s2s_ft.train.step.set_learning_rate", crash)
        with pytest.raises(KeyError):
            run(output_dir=str(parts), save_steps=3)
    assert [line["step"] for line in metrics(parts)] == [2, 4]
    run(output_dir=str(parts), save_steps=3)
    assert_same_checkpoint(whole / f"ckpt-{STEPS}", parts / f"ckpt-{STEPS}")
    assert [line["step"] for line in metrics(parts)] == [2, 4, 6]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_every_signal_ends_the_run_in_order(
    number: int, run: Train, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(monkeypatch, 2, number)
    before = signal.getsignal(number)
    assert run() == 128 + number
    assert checkpoints(output_dir) == {"ckpt-2"}  # where a line of the log was waited for
    assert signal.getsignal(number) == before


def test_a_damaged_checkpoint_is_passed_over(
    run: Train, output_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(save_steps=2)
    wanted = load_file(output_dir / "ckpt-6" / "model.safetensors")
    (output_dir / "ckpt-6" / "optimizer.safetensors").write_bytes(b"")
    assert run(save_steps=2) == 0
    assert "passing over the damaged checkpoint" in caplog.text
    assert "resuming from" in caplog.text
    again = load_file(output_dir / "ckpt-6" / "model.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in wanted.items())


def test_a_finished_run_does_nothing(
    run: Train, output_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run()

    def times() -> dict[Path, int]:
        files = [path for path in output_dir.rglob("*") if path.is_file()]
        return {path: path.stat().st_mtime_ns for path in files if path.name != ".lock"}

    before = times()
    assert run() == 0
    assert f"all {STEPS} updates are done" in caplog.text
    assert times() == before


def test_a_run_may_be_made_longer(
    run: Train, output_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run()
    assert run(num_training_steps=8) == 0
    assert checkpoints(output_dir) == {"ckpt-6", "ckpt-8"}
    assert "num_training_steps: 6 before, 8 now" in caplog.text


def test_starting_anew_on_request(run: Train, output_dir: Path) -> None:
    run(save_steps=2)
    assert run(overwrite_output_dir=True, num_training_steps=4, seed=1) == 0
    assert checkpoints(output_dir) == {"ckpt-4"}
    assert [line["step"] for line in metrics(output_dir)] == [2, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train_examples": 15}, "training data.*--train_file, --num_train_examples"),
        (
            {"fine_tuning_method": "causal"},
            "method was pseudo_mask, now causal.*--fine_tuning_me",
        ),
        ({"target_mask_prob": 0.2}, "corruption target_mask_prob was 0.5, now 0.2"),
        ({"max_target_seq_length": 5}, "longest source and target was.*--max_target_seq_length"),
        ({"seed": 1}, "seed was 42, now 1.*--seed"),
        ({"per_gpu_train_batch_size": 4}, "examples per update was 4, now 8.*--global_batch_size"),
        ({"dropout": 0.2}, "model config .*dropout.* was 0.1, now 0.2.*--dropout"),
    ],
)
def test_another_run_is_not_gone_on_with(
    changes: dict[str, Any], message: str, run: Train, output_dir: Path
) -> None:
    run(num_training_steps=2)
    with pytest.raises(ValueError, match=message) as caught:
        run(**changes)
    assert "--overwrite_output_dir" in str(caught.value)
    assert checkpoints(output_dir) == {"ckpt-2"}


def test_a_changed_data_file_is_another_run(run: Train, data_file: Path) -> None:
    run(num_training_steps=2)
    text = data_file.read_text(encoding="utf-8")
    data_file.write_text(text.replace("data", "library"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"training data was .* --train_file"):
        run()


def test_another_encoder_of_the_same_shape_is_another_run(
    run: Train, tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    run(num_training_steps=2)
    other = tmp_path / "other"
    shutil.copytree(tiny_checkpoint("bert"), other)
    assert run(num_training_steps=2, model_name_or_path=str(other)) == 0
    torch.manual_seed(1)
    encoder = AutoModelForMaskedLM.from_pretrained(other)
    torch.nn.init.normal_(encoder.get_input_embeddings().weight)
    encoder.save_pretrained(other)
    with pytest.raises(ValueError, match=r"pretrained weights was .* --model_name_or_path"):
        run(model_name_or_path=str(other))


def test_the_cut_of_an_update_may_change(
    run: Train, tmp_path: Path, output_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same examples per update in other micro-batches are the same run, up to rounding."""
    run(dropout=0.0, output_dir=str(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, signal.SIGTERM)
        run(dropout=0.0)
    assert run(dropout=0.0, per_gpu_train_batch_size=4, gradient_accumulation_steps=1) == 0
    for one, other in zip(metrics(tmp_path / "whole"), metrics(output_dir), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_frozen_embeddings_stay(
    run: Train, output_dir: Path, tiny_checkpoint: Callable[[str], Path]
) -> None:
    run(fix_word_embedding=True)
    name = "bert.embeddings.word_embeddings.weight"
    after = load_file(output_dir / f"ckpt-{STEPS}" / "model.safetensors")
    assert torch.equal(after[name], load_file(tiny_checkpoint("bert") / "model.safetensors")[name])


def test_bfloat16_on_a_cpu(run: Train, output_dir: Path) -> None:
    assert run(bf16=True, num_training_steps=2) == 0
    weights = load_file(output_dir / "ckpt-2" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_float16_on_a_cpu_is_refused(run: Train) -> None:
    with pytest.raises(ValueError, match=r"--fp16 .* --bf16"):
        run(fp16=True)


def test_a_run_that_diverges_fails_and_keeps_its_checkpoint(run: Train, output_dir: Path) -> None:
    with pytest.raises(TrainingFault, match="nothing was stepped"):
        run(learning_rate=1e30, num_warmup_steps=0, save_steps=1, num_training_steps=50)
    assert "ckpt-1" in checkpoints(output_dir)


@pytest.mark.parametrize("flag", ["train_file", "dev_file"])
def test_a_pipe_cannot_be_read_again(run: Train, tmp_path: Path, flag: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=f"--{flag} .*pipe: is a pipe or a device"):
        run(**{flag: str(tmp_path / "pipe")})


def test_an_output_folder_that_is_a_file(run: Train, output_dir: Path) -> None:
    output_dir.write_text("", encoding="utf-8")
    with pytest.raises(EnvironmentFault, match="--output_dir"):
        run()


def test_an_update_of_a_given_size(run: Train, output_dir: Path, tmp_path: Path) -> None:
    """--global_batch_size decides, and accumulation follows from it."""
    run(dropout=0.0)
    other = tmp_path / "other"
    run(dropout=0.0, output_dir=str(other), global_batch_size=4, gradient_accumulation_steps=1)
    assert_same_checkpoint(output_dir / f"ckpt-{STEPS}", other / f"ckpt-{STEPS}")


def test_old_checkpoints_go(run: Train, output_dir: Path) -> None:
    run(save_steps=1, keep_checkpoints=2)
    assert checkpoints(output_dir) == {"ckpt-5", "ckpt-6"}


def test_the_flag_that_names_no_tokenizer_is_named(run: Train, tmp_path: Path) -> None:
    """Beside a good encoder."""
    with pytest.raises(ValueError, match="--tokenizer_name nowhere: no tokenizer") as fault:
        run(tokenizer_name="nowhere")
    assert "--model_name_or_path" not in str(fault.value)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"--model_name_or_path .*bare: no tokenizer") as fault:
        run(model_name_or_path=str(tmp_path / "bare"))
    assert str(fault.value).endswith("here or with --tokenizer_name")
