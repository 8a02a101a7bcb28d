"""Flags without effect are told of once, and those that have one are not."""

from typing import Any

import pytest

from s2s_ft.options import TrainOptions, build
from s2s_ft.train.idle_flags import tell_of_idle_flags
from tests.unit.train.runs import Train

REQUIRED = {"train_file": "a.jsonl", "model_name_or_path": "m", "output_dir": "o"}
LOOKS = {"dev_file": "d.jsonl"}


@pytest.mark.parametrize(
    ("flags", "num_ranks", "told"),
    [
        ({}, 1, []),
        ({"fp16_opt_level": "o1"}, 1, []),
        ({"fp16_opt_level": "O2"}, 1, ["fp16_opt_level"]),
        ({"fp16_opt_level": "O2", "fp16": True}, 1, []),
        ({"num_max_mask_token": 3}, 1, ["num_max_mask_token"]),
        ({"num_max_mask_token": 3, "mask_way": "v0"}, 1, ["num_max_mask_token"]),
        ({"num_max_mask_token": 3, "mask_way": "v1"}, 1, []),
        ({"fsdp": True}, 1, ["fsdp"]),
        ({"fsdp": True}, 2, []),
        ({**LOOKS, "eval_length_penalty": 0.6}, 1, ["eval_length_penalty"]),
        ({**LOOKS, "eval_length_penalty": 0.6, "eval_beam_size": 2}, 1, []),
        ({**LOOKS, "eval_batch_size": 4, "num_samples": 1}, 1, []),
        (
            {**LOOKS, "eval_beam_size": 0, "eval_batch_size": 4, "num_samples": 1},
            1,
            ["eval_batch_size", "num_samples"],
        ),
    ],
)
def test_what_has_no_effect_is_told_of(
    flags: dict[str, Any], num_ranks: int, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    tell_of_idle_flags(build(TrainOptions, {**REQUIRED, **flags}), num_ranks)
    assert [message.split()[0] for message in caplog.messages] == [f"--{name}" for name in told]
    assert all("has no effect" in message for message in caplog.messages)


def test_a_run_tells_of_them(run: Train, caplog: pytest.LogCaptureFixture) -> None:
    assert run(num_training_steps=2, num_max_mask_token=2) == 0
    told = "--num_max_mask_token has no effect with --fine_tuning_method pseudo_mask"
    assert caplog.messages.count(told) == 1
