"""The flag surface, the checks of values, configuration files and the round trip of options."""

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from s2s_ft.decode.rescore import RescoreOptions
from s2s_ft.options import DecodeOptions, TrainOptions, as_dict, build, flag, flags_of
from s2s_ft.options.flags import Flag, groups_of
from s2s_ft.options.parser import parse

GOLDEN = Path(__file__).parent / "golden" / "flags.json"  # the flags of the original toolkit
CLASSES: dict[str, type[Any]] = {
    "train": TrainOptions,
    "decode": DecodeOptions,
    "rescore": RescoreOptions,
}
TRAIN = {"train_file": "train.jsonl", "model_name_or_path": "encoder", "output_dir": "out"}
DECODE = {"model_path": "out/ckpt-6", "input_file": "test.jsonl"}

# (command, flag): what differs from the original, and why.
ALLOWED_DIFFERENCES: dict[tuple[str, str], tuple[dict[str, Any], str]] = {
    ("train", "model_type"): ({"required": False}, "the encoder's config tells"),
    ("train", "mask_way"): (
        {"default": None, "choices": ["v0", "v1", "v2"]},
        "older name of --fine_tuning_method, whose default means v2; others never worked",
    ),
    ("decode", "model_type"): ({"required": False}, "the checkpoint tells"),
    ("decode", "tokenizer_name"): ({"required": False}, "the checkpoint holds it"),
    ("decode", "input_file"): ({"required": True}, "the original failed later without it"),
    ("decode", "max_seq_length"): ({"default": None}, "as in training, else the original's 512"),
    ("decode", "max_tgt_length"): ({"default": None}, "as in training, else the original's 128"),
    ("decode", "mode"): ({"choices": ["s2s", "l2r"]}, "the original always refused both"),
    ("rescore", "input"): ({"required": True}, "the original failed later without it"),
    ("rescore", "model_type"): ({"required": False}, "the tokenizer tells"),
    ("rescore", "tokenizer_name"): ({"required": False}, "the trace tells"),
}
ADDITIONS = {
    "train": {
        "source_key",
        "target_key",
        "num_train_examples",
        "num_workers",
        "fine_tuning_method",
        "dropout",
        "fresh_head",
        "overwrite_output_dir",
        "bf16",
        # an update, its optimizer
        "global_batch_size",
        "max_tokens_per_batch",
        "optimizer",
        "layer_decay",
        "unfreeze_steps",
        # held-out rows
        "dev_file",
        "num_dev_examples",
        "eval_steps",
        "eval_metric",
        "eval_beam_size",
        "eval_length_penalty",
        "eval_batch_size",
        "early_stopping_patience",
        "num_samples",
        # adapters
        "peft",
        "lora_rank",
        "lora_alpha",
        "lora_dropout",
        "peft_targets",
        "peft_save",
        # checkpoints, devices, memory
        "keep_checkpoints",
        "wandb_project",
        "fsdp",
        "gradient_checkpointing",
        "auto_batch_size",
        "torch_compile",
    },
    "decode": {"source_key", "target_key", "output_format", "num_return_sequences", "bf16"},
    "rescore": {"output_file"},
}


def surface(each: Flag) -> dict[str, Any]:
    return {
        "name": each.name,
        "type": each.kind.__name__,
        "default": each.default,
        "required": each.required,
        "choices": None if each.choices is None else list(each.choices),
    }


def golden(command: str) -> list[dict[str, Any]]:
    flags: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))[command]
    return flags


def train(**values: Any) -> TrainOptions:
    return build(TrainOptions, {**TRAIN, **values})


def decode(**values: Any) -> DecodeOptions:
    return build(DecodeOptions, {**DECODE, **values})


def test_the_golden_file_holds_every_flag_of_the_original() -> None:
    assert {command: len(golden(command)) for command in CLASSES} == {
        "train": 40,
        "decode": 29,
        "rescore": 9,
    }


@pytest.mark.parametrize("command", CLASSES)
def test_flags_equal_the_original_but_for_the_listed_differences(command: str) -> None:
    ours = {each.name: surface(each) for each in flags_of(CLASSES[command])}
    for original in golden(command):
        changes, _ = ALLOWED_DIFFERENCES.get((command, original["name"]), ({}, ""))
        assert ours[original["name"]] == {**original, **changes}


@pytest.mark.parametrize("command", CLASSES)
def test_every_addition_is_listed_and_may_be_left_out(command: str) -> None:
    names = {each["name"] for each in golden(command)}
    added = {each.name: each for each in flags_of(CLASSES[command]) if each.name not in names}
    assert set(added) == ADDITIONS[command]
    assert not any(each.required for each in added.values())


@pytest.mark.parametrize("command", CLASSES)
def test_no_group_has_the_name_of_a_flag(command: str) -> None:
    names = {each.name for each in flags_of(CLASSES[command])}
    assert not names & set(groups_of(CLASSES[command]))
    assert "config" not in names


@pytest.mark.parametrize("command", CLASSES)
def test_a_flag_that_nothing_reads_is_marked_obsolete(command: str) -> None:
    through_method = {"fine_tuning_method", "mask_way"}  # both are read as ModelOptions.method
    names = {each.name for each in flags_of(CLASSES[command]) if not each.obsolete}
    assert not names - through_method - names_read_outside_options()


@pytest.mark.parametrize("command", CLASSES)
def test_a_flag_that_is_read_is_not_marked_obsolete(command: str) -> None:
    obsolete = {each.name for each in flags_of(CLASSES[command]) if each.obsolete}
    # An encoder's config has a model_type of its own, which is what is read.
    assert not (obsolete - {"model_type"}) & names_read_outside_options()


def names_read_outside_options() -> set[str]:
    """Every attribute that is read in the package, the options themselves left out."""
    package = Path(__file__).parents[2] / "s2s_ft"
    return {
        node.attr
        for path in package.rglob("*.py")
        if path.parent != package / "options"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }


def test_a_flag_twice_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Group:
        """A group."""

        seed: int = field(default=1, metadata=flag("A seed."))

    @dataclass(frozen=True, kw_only=True)
    class Twice:
        """Options."""

        group: Group = field(default_factory=Group)
        seed: int = field(default=1, metadata=flag("A seed."))

    with pytest.raises(AssertionError, match="twice"):
        flags_of(Twice)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train_file": " "}, ["--train_file", "empty"]),
        ({"output_dir": ""}, ["--output_dir", "empty"]),
        ({"max_source_seq_length": 2}, ["--max_source_seq_length is 2", "at least 3"]),
        ({"max_target_seq_length": 0}, ["--max_target_seq_length is 0", "at least 2"]),
        ({"num_train_examples": 0}, ["--num_train_examples is 0", "at least 1"]),
        ({"num_workers": -1}, ["--num_workers is -1", "at least 0"]),
        ({"dropout": 1.0}, ["--dropout is 1.0", "below 1"]),
        ({"source_mask_prob": 1.5}, ["--source_mask_prob is 1.5", "from 0 to 1"]),
        ({"source_mask_prob": float("nan")}, ["--source_mask_prob is nan"]),
        ({"target_mask_prob": -0.1}, ["--target_mask_prob is -0.1", "from 0 to 1"]),
        ({"random_prob": 0.6, "keep_prob": 0.5}, ["--random_prob 0.6", "--keep_prob 0.5"]),
        ({"num_max_mask_token": -1}, ["--num_max_mask_token is -1"]),
        ({"per_gpu_train_batch_size": 0}, ["--per_gpu_train_batch_size is 0", "at least 1"]),
        ({"gradient_accumulation_steps": 0}, ["--gradient_accumulation_steps is 0"]),
        ({"learning_rate": 0.0}, ["--learning_rate is 0.0", "above 0"]),
        ({"learning_rate": float("nan")}, ["--learning_rate is nan"]),
        ({"learning_rate": float("inf")}, ["--learning_rate is inf", "finite"]),
        ({"weight_decay": -0.01}, ["--weight_decay is -0.01"]),
        ({"adam_epsilon": 0.0}, ["--adam_epsilon is 0.0"]),
        ({"max_grad_norm": -1.0}, ["--max_grad_norm is -1.0", "at least 0"]),
        ({"label_smoothing": 1.0}, ["--label_smoothing is 1.0", "below 1"]),
        ({"num_training_steps": 0}, ["--num_training_steps is 0", "-1"]),
        ({"num_training_steps": -2}, ["--num_training_steps is -2", "-1"]),
        ({"num_training_epochs": 0}, ["--num_training_epochs is 0"]),
        ({"num_warmup_steps": -5}, ["--num_warmup_steps is -5"]),
        ({"fp16": True, "bf16": True}, ["--fp16 and --bf16", "one of them"]),
        ({"seed": -1}, ["--seed is -1", "from 0"]),
        ({"fp16_opt_level": "01"}, ["--fp16_opt_level is '01'", "O1"]),
        ({"local_rank": -2}, ["--local_rank is -2"]),
        ({"global_batch_size": 0}, ["--global_batch_size is 0", "at least 1"]),
        ({"max_tokens_per_batch": 0}, ["--max_tokens_per_batch is 0", "at least 1"]),
        ({"layer_decay": 0.0}, ["--layer_decay is 0.0", "above 0"]),
        ({"layer_decay": 1.1}, ["--layer_decay is 1.1", "at most 1"]),
        ({"layer_decay": float("nan")}, ["--layer_decay is nan"]),
        ({"unfreeze_steps": -1}, ["--unfreeze_steps is -1", "at least 0"]),
        ({"peft": "lora", "lora_rank": 0}, ["--lora_rank is 0", "at least 1"]),
        ({"peft": "lora", "lora_alpha": 0.0}, ["--lora_alpha is 0.0", "above 0"]),
        ({"peft": "lora", "lora_dropout": 1.0}, ["--lora_dropout is 1.0", "below 1"]),
        ({"peft": "lora", "peft_targets": " "}, ["--peft_targets", "empty"]),
        (
            {"fine_tuning_method": "causal", "mask_way": "v2"},
            ["--fine_tuning_method causal", "--mask_way v2", "pseudo_mask"],
        ),
        ({"fine_tuning_method": "pseudo_mask", "mask_way": "v0"}, ["--mask_way v0", "causal"]),
    ],
)
def test_a_bad_training_value_is_told_by_the_name_of_its_flag(
    values: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError, match="--") as caught:
        train(**values)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"fp16": True}, {"fsdp": True}),
        ({"optimizer": "apex"}, {"no_cuda": True}),
        ({"optimizer": "apex"}, {"fsdp": True}),
        ({"optimizer": "apex"}, {"unfreeze_steps": 10}),
        ({"peft": "lora"}, {"fsdp": True}),
        ({"peft": "ia3"}, {"layer_decay": 0.9}),
        ({"peft": "dora"}, {"unfreeze_steps": 10}),
        ({"unfreeze_steps": 10}, {"fsdp": True}),
        ({"unfreeze_steps": 10}, {"torch_compile": True}),
        ({"fsdp": True}, {"torch_compile": True}),
        ({"auto_batch_size": True}, {"max_tokens_per_batch": 4096}),
        ({"global_batch_size": 32}, {"gradient_accumulation_steps": 2}),
        ({"peft": None}, {"lora_rank": 8}),
        ({"peft": None}, {"lora_alpha": 8.0}),
        ({"peft": None}, {"peft_targets": "query"}),
        ({"peft": None}, {"peft_save": "adapter"}),
    ],
)
def test_flags_that_do_not_go_together_are_both_named(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    for alone in (one, other):
        if one != {"peft": None}:
            train(**alone)
    with pytest.raises(ValueError, match="--") as caught:
        train(**one, **other)
    assert all(f"--{name}" in str(caught.value) for name in (*one, *other)), caught.value
    assert "\n" not in str(caught.value)


def test_flags_that_switch_nothing_on_go_together() -> None:
    train(layer_decay=1, unfreeze_steps=0, peft="lora", fsdp=False)
    train(optimizer="adamw", no_cuda=True, fsdp=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_path": ""}, ["--model_path", "empty"]),
        ({"input_file": ""}, ["--input_file", "empty"]),
        ({"max_seq_length": 0}, ["--max_seq_length is 0"]),
        (
            {"max_seq_length": 130, "max_tgt_length": 128},
            ["--max_seq_length 130", "--max_tgt_length 128", "131"],
        ),
        ({"beam_size": 0}, ["--beam_size is 0", "at least 1"]),
        ({"num_return_sequences": 0}, ["--num_return_sequences is 0"]),
        (
            {"num_return_sequences": 3, "beam_size": 2, "output_format": "jsonl"},
            ["--num_return_sequences 3", "--beam_size 2"],
        ),
        ({"num_return_sequences": 2, "beam_size": 2}, ["--num_return_sequences", "jsonl"]),
        ({"max_tgt_length": 0}, ["--max_tgt_length is 0"]),
        ({"ngram_size": 0}, ["--ngram_size is 0"]),
        ({"min_len": -1}, ["--min_len is -1"]),
        ({"min_len": 129, "max_tgt_length": 128}, ["--min_len 129", "--max_tgt_length 128"]),
        ({"length_penalty": float("inf")}, ["--length_penalty is inf", "finite"]),
        ({"batch_size": 0}, ["--batch_size is 0"]),
        ({"fp16": True, "bf16": True}, ["--fp16 and --bf16"]),
    ],
)
def test_a_bad_decoding_value_is_told_by_the_name_of_its_flag(
    values: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError, match="--") as caught:
        decode(**values)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"source_mask_prob": -1.0},
        {"target_mask_prob": 0.0, "random_prob": 0.9, "keep_prob": 0.1},
        {"num_training_steps": 1, "save_steps": 0, "logging_steps": -1},
        {"max_grad_norm": 0.0, "weight_decay": 0.0, "dropout": 0.0},
        {"seed": 0, "local_rank": 0},
    ],
)
def test_values_at_the_edge_are_accepted(values: dict[str, Any]) -> None:
    train(**values)


def test_the_least_max_seq_length_leaves_one_source_token() -> None:
    assert decode(max_seq_length=131, max_tgt_length=128).data.max_seq_length == 131
    assert decode(beam_size=2, num_return_sequences=2, output_format="jsonl").search.beam_size == 2


@pytest.mark.parametrize(
    ("values", "method"),
    [
        ({}, "pseudo_mask"),
        ({"mask_way": "v0"}, "causal"),
        ({"mask_way": "v1"}, "masked"),
        ({"mask_way": "v2"}, "pseudo_mask"),
        ({"fine_tuning_method": "masked"}, "masked"),
        ({"fine_tuning_method": "causal", "mask_way": "v0"}, "causal"),
    ],
)
def test_the_method_has_two_names(values: dict[str, Any], method: str) -> None:
    model = train(**values).model
    assert model.method == method
    assert model.fine_tuning_method == method  # what is written down is settled too


def other_value(each: Flag) -> Any:
    """A value other than the default, of the flag's type, that passes every check."""
    chosen: dict[str, Any] = {
        "num_training_steps": 7,
        "num_workers": 2,
        "local_rank": 0,
        "max_seq_length": 300,
        "num_return_sequences": 1,
        "fp16": False,
        "fp16_opt_level": "o2",
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
        "fsdp": False,
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train_fil: a\n", ["line 4", "'train_fil'", "did you mean train_file?"]),
        ("data:\n  seed: 1\n", ["line 5", "'seed'", "'runtime'", "'data'"]),
        ("runtime:\n  sed: 1\n", ["line 5", "'sed'", "seed"]),
        ("seed: x\n", ["line 4", "'seed'", "whole number", "'x'"]),
        ("seed: 1.5\n", ["'seed'", "1.5"]),
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
        ("config: b.yaml\n", ["unknown key 'config'"]),
    ],
)
def test_a_bad_config_file_is_told_by_file_line_and_key(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"train\.yaml") as caught:
        from_yaml(tmp_path, FILE + text)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_config_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 1.*key: value"):
        from_yaml(tmp_path, "- a\n- b\n")
    with pytest.raises(ValueError, match="No such file"):
        parse(TrainOptions, ["--config", str(tmp_path / "none.yaml")], "program", "")
    (tmp_path / "binary.yaml").write_bytes(b"seed: \xff\xfe")
    with pytest.raises(ValueError, match=r"binary\.yaml"):
        parse(TrainOptions, ["--config", str(tmp_path / "binary.yaml")], "program", "")
