"""Options in a file: written and read back, merged with flags, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from s2s_ft.options import TrainOptions, as_dict, build, flags_of
from s2s_ft.options.flags import Flag
from s2s_ft.options.parser import parse
from tests.unit.options.commands import CLASSES


def other_value(each: Flag) -> Any:
    """A value other than the default, of the flag's type, that passes every check."""
    chosen: dict[str, Any] = {
        "num_training_steps": 70,
        "num_workers": 2,
        "local_rank": 0,
        "max_seq_length": 300,
        "num_return_sequences": 1,
        "fp16": False,
        "fp16_opt_level": "o2",
        "peft": "lora",
        "fine_tuning_method": "causal",
        "mask_way": "v0",
        "source_mask_prob": 1e-5,
        "adam_epsilon": 1e-6,
        # What does not go together with the others.
        "gradient_accumulation_steps": 1,
        "layer_decay": 1.0,
        "unfreeze_steps": 0,
        "optimizer": "adamw",
        "auto_batch_size": False,
        "deterministic": False,
        "fsdp": False,
        "additional_tokens": None,
        "length_reward": 0.0,
        "num_beam_groups": 1,
        "diversity_penalty": 0.0,
        "do_sample": True,
        "beam_size": 1,
        "force_words": None,
        "need_score_traces": False,
        "interactive": False,
        "int8": False,
    }
    if each.name in chosen:
        return chosen[each.name]
    if each.choices is not None:
        return each.choices[-1]
    by_kind: dict[type, Any] = {bool: True, int: 20, float: 0.25, str: "a 'b': # \"ü\" no"}
    return by_kind[each.kind]


@pytest.mark.parametrize("command", CLASSES)
@pytest.mark.parametrize("write", [yaml.safe_dump, json.dumps], ids=["yaml", "json"])
@pytest.mark.parametrize("changed", [False, True])
def test_options_survive_writing_and_reading(
    tmp_path: Path, command: str, write: Any, changed: bool
) -> None:
    options_class = CLASSES[command]
    required = {each.name: "given" for each in flags_of(options_class) if each.required}
    required |= {"input_file": "given"} if command == "decode" else {}
    others = {each.name: other_value(each) for each in flags_of(options_class)}
    options = build(options_class, others if changed else required)
    path = tmp_path / "options.yaml"
    path.write_text(write(as_dict(options)), encoding="utf-8")
    assert parse(options_class, ["--config", str(path)], "program", "") == options


def from_yaml(tmp_path: Path, text: str, *arguments: str) -> TrainOptions:
    path = tmp_path / "train.yaml"
    path.write_text(text, encoding="utf-8")
    return parse(TrainOptions, ["--config", str(path), *arguments], "run_seq2seq.py", "")


FILE = "train_file: a.jsonl\nmodel_name_or_path: encoder\noutput_dir: out\n"


def test_a_config_file_may_be_flat_or_grouped_and_flags_override_it(tmp_path: Path) -> None:
    text = FILE + "runtime:\n  fp16: true\n  seed: 7\ndata:\nlearning_rate: 1e-4\n"
    options = from_yaml(tmp_path, text)
    assert options.data.train_file == "a.jsonl"
    assert (options.runtime.fp16, options.runtime.seed) == (True, 7)
    assert options.optimization.learning_rate == 1e-4
    assert from_yaml(tmp_path, text, "--seed", "8").runtime.seed == 8
    assert from_yaml(tmp_path, text, "--fp16=false", "--bf16").runtime.bf16
    assert from_yaml(tmp_path, FILE + "max_grad_norm: 2\n").optimization.max_grad_norm == 2.0
    assert from_yaml(tmp_path, "\ufeff" + FILE + "log_dir: null\n").checkpoint.log_dir is None


def test_a_flag_overrides_its_other_name_in_the_file(tmp_path: Path) -> None:
    """The file of a run holds the method under its newer name, whatever was given."""
    text = FILE + "fine_tuning_method: pseudo_mask\nmask_way: null\n"
    assert from_yaml(tmp_path, text, "--mask_way", "v0").model.method == "causal"
    text = FILE + "mask_way: v0\n"
    assert from_yaml(tmp_path, text, "--fine_tuning_method", "masked").model.method == "masked"
    assert from_yaml(tmp_path, text).model.method == "causal"
    with pytest.raises(ValueError, match="--fine_tuning_method masked contradicts --mask_way v0"):
        from_yaml(tmp_path, text + "fine_tuning_method: masked\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train_fil: a\n", ["line 4", "'train_fil'", "did you mean train_file?"]),
        ("data:\n  seed: 1\n", ["line 5", "'seed'", "'runtime'", "'data'"]),
        ("runtime:\n  sed: 1\n", ["line 5", "'sed'", "seed"]),
        ("seed: x\n", ["line 4", "'seed'", "whole number", "'x'"]),
        ("seed: 1.5\n", ["'seed'", "1.5"]),
        ("seed: 010\n", ["line 4", "'seed'", "010 is 8 in YAML"]),
        ("runtime:\n  seed: -0_7\n", ["line 5", "'seed'", "-0_7 is -7 in YAML"]),
        ("num_training_steps: 1:30\n", ["line 4", "'num_training_steps'", "1:30 is 90"]),
        ("learning_rate: 1:30.5\n", ["line 4", "'learning_rate'", "1:30.5 is 90.5"]),
        ("<<: {seed: 1}\n", ["line 4", "'<<'", "write the keys out"]),
        ("runtime: &a\n  seed: 1\ndata:\n  <<: *a\n", ["line 7", "'<<'"]),
        ("schedule: 3\n", ["line 4", "unknown key 'schedule'"]),
        ("seed: true\n", ["'seed'", "True"]),
        ("seed:\n", ["'seed'", "found nothing"]),
        ("fp16: 1\n", ["'fp16'", "true or false"]),
        ("learning_rate: fast\n", ["'learning_rate'", "a number", "'fast'"]),
        ("log_dir: 2024\n", ["'log_dir'", "in quotes", "2024"]),
        ("mask_way: v3\n", ["'mask_way'", "v0, v1, v2", "'v3'"]),
        ("seed: 1\nruntime:\n  seed: 1\n", ["line 6", "'seed'", "twice"]),
        ("seed: 1\nseed: 1\n", ["line 5", "'seed'", "twice"]),
        ("runtime: 3\n", ["line 4", "key: value"]),
        ("seed: [\n", ["not valid YAML"]),
        ("seed: !!int 'abc'\n", ["line 4", "'abc'", "!!int"]),
        (f"data:\n  seed: {'9' * 5000}\n", ["line 5", "'999", "!!int"]),
        ("source_key: !!timestamp 'x'\n", ["line 4", "'x'", "!!timestamp"]),
        ("!!int 'x': 1\n", ["line 4", "'x'", "!!int"]),
        (f"learning_rate: 1{'0' * 400}\n", ["line 4", "'learning_rate'", "too large"]),
        (f"seed: {'[' * 3000}{']' * 3000}\n", ["nested too deeply"]),
        ("config: b.yaml\n", ["unknown key 'config'"]),
    ],
)
def test_a_bad_config_file_is_told_by_file_line_and_key(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"train\.yaml") as caught:
        from_yaml(tmp_path, FILE + text)
    assert all(word in str(caught.value) for word in words), caught.value
    assert len(str(caught.value)) < 600


def test_numbers_that_are_read_the_same_everywhere_are_accepted(tmp_path: Path) -> None:
    text = FILE + "seed: 0\nnum_training_steps: 1_000\nsave_steps: 0x10\nlearning_rate: 01.5\n"
    options = from_yaml(tmp_path, text)
    assert (options.runtime.seed, options.optimization.num_training_steps) == (0, 1000)
    assert (options.checkpoint.save_steps, options.optimization.learning_rate) == (16, 1.5)


def test_a_config_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 1.*key: value"):
        from_yaml(tmp_path, "- a\n- b\n")
    with pytest.raises(ValueError, match="No such file"):
        parse(TrainOptions, ["--config", str(tmp_path / "none.yaml")], "program", "")
    (tmp_path / "binary.yaml").write_bytes(b"seed: \xff\xfe")
    with pytest.raises(ValueError, match=r"binary\.yaml"):
        parse(TrainOptions, ["--config", str(tmp_path / "binary.yaml")], "program", "")
