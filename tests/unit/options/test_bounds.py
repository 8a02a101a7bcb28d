"""Numbers that are too large to mean anything: refused where flags are checked."""

from typing import Any

import pytest

from s2s_ft.convert.options import ConvertOptions
from s2s_ft.data.mixture.options import MixtureOptions
from s2s_ft.decode.rescore import RescoreOptions
from s2s_ft.decode.search.hypotheses import length_divisor
from s2s_ft.evaluation.options import EvaluationOptions
from s2s_ft.evaluation.sweep_options import SweepOptions
from s2s_ft.options import build
from s2s_ft.options.checks import LARGEST_COUNT, LARGEST_EXPONENT, LONGEST, MOST_BEAMS
from tests.unit.options.commands import decode, train

INFINITE = float("inf")


def told(make: Any, values: dict[str, Any]) -> str:
    """What is said of values that are refused."""
    with pytest.raises(ValueError, match="--") as caught:
        make(**values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        *(
            {name: value}
            for name in (
                "num_train_examples",
                "per_gpu_train_batch_size",
                "gradient_accumulation_steps",
                "global_batch_size",
                "max_tokens_per_batch",
                "num_training_steps",
                "num_warmup_steps",
                "num_workers",
                "keep_checkpoints",
            )
            for value in (2**31, 2**63 - 1, 10**20)
        ),
        {"max_source_seq_length": LONGEST + 1},
        {"max_target_seq_length": 2**31},
    ],
    ids=str,
)
def test_training_counts_within_31_bits(values: dict[str, Any]) -> None:
    (name,) = values
    assert f"--{name} is {values[name]}: give a number of at most" in told(train, values)


@pytest.mark.parametrize(
    ("name", "value", "others"),
    [
        ("eval_beam_size", MOST_BEAMS + 1, {"dev_file": "a"}),
        ("eval_length_penalty", 2.0**31, {"dev_file": "a"}),
        ("eval_length_penalty", -INFINITE, {"dev_file": "a"}),
        ("num_dev_examples", 10**20, {"dev_file": "a"}),
        ("lora_rank", 2**31, {"peft": "lora"}),
        ("lora_alpha", INFINITE, {"peft": "lora"}),
        ("lora_alpha", 1e20, {"peft": "lora"}),
        ("distill_temperature", 1e308, {"teacher_model": "t"}),
        ("distill_temperature", 1e-320, {"teacher_model": "t"}),
    ],
)
def test_what_else_training_cannot_mean(name: str, value: float, others: dict[str, Any]) -> None:
    train(**others)
    assert f"--{name} is {value}: give a number of at" in told(train, {name: value, **others})


def test_an_update_is_no_larger_than_what_is_counted() -> None:
    most = {"per_gpu_train_batch_size": LARGEST_COUNT, "gradient_accumulation_steps": 1}
    train(**most, num_training_steps=LARGEST_COUNT)
    message = told(train, most | {"gradient_accumulation_steps": 2})
    assert all(f"--{name}" in message for name in most)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("length_penalty", 2147483648.0),
        ("length_penalty", -1e9),
        ("length_reward", 1e308),
        ("repetition_penalty", 1e308),
        ("diversity_penalty", 1e308),
        ("temperature", 0.0),
        ("temperature", 1e-39),
        ("temperature", 3.5e38),
        ("temperature", INFINITE),
        ("beam_size", 2**31),
        ("num_return_sequences", 10**20),
        ("max_tgt_length", 2**31),
        ("max_seq_length", 10**20),
        ("top_k", 10**20),
        ("subset", 10**20),
        ("seed", -1),
        ("seed", 2**63),
        ("workers", 2**31),
        ("batch_size", 10**20),
    ],
)
def test_decoding(name: str, value: float) -> None:
    assert f"--{name} is {value}: give a number of at" in told(decode, {name: value})


@pytest.mark.parametrize(
    ("options_class", "values"),
    [
        (RescoreOptions, {"alpha": 2147483648.0}),
        (RescoreOptions, {"alpha": -9.2e18}),
        (RescoreOptions, {"expect": INFINITE}),
        (RescoreOptions, {"length_penalty": 1e308}),
        (SweepOptions, {"alphas": "0,2147483648"}),
        (SweepOptions, {"alphas": "nan"}),
        (SweepOptions, {"rewards": "-1e308"}),
        (SweepOptions, {"min_lens": "1e308"}),
        (SweepOptions, {"num_bootstrap": 2**31}),
        (EvaluationOptions, {"num_bootstrap": 10**20}),
        (EvaluationOptions, {"seed": 10**20}),
        (MixtureOptions, {"num_rows": 10**11}),
        (MixtureOptions, {"seed": -1}),
        (ConvertOptions, {"max_source_seq_length": 10**23}),
    ],
    ids=str,
)
def test_the_other_commands(options_class: Any, values: dict[str, Any]) -> None:
    (name,) = values
    required = {
        "input": "a",
        "gold": "a",
        "pred": "a",
        "train_files": ("en=a",),
        "output_file": "b",
    }
    required |= {"model_path": "a", "output_dir": "b"}
    build(options_class, required)
    message = told(lambda **given: build(options_class, required | given), values)
    assert f"--{name} is " in message
    assert "give a number of at" in message


def test_the_largest_exponent_leaves_numbers_for_the_longest_outputs() -> None:
    assert 1.0 < length_divisor(LARGEST_COUNT, LARGEST_EXPONENT) < INFINITE
