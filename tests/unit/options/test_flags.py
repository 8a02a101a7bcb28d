"""The flags: those of the original, those that were added, and that each of them is read."""

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.options import flag, flags_of
from s2s_ft.options.flags import Flag, groups_of
from tests.unit.options.commands import CLASSES

GOLDEN = Path(__file__).parents[1] / "golden" / "flags.json"  # the flags of the original toolkit


# (command, flag): what differs from the original, and why.
ALLOWED_DIFFERENCES: dict[tuple[str, str], tuple[dict[str, Any], str]] = {
    ("train", "model_type"): ({"required": False}, "the encoder's config tells"),
    ("train", "mask_way"): (
        {"default": None, "choices": ["v0", "v1", "v2"]},
        "older name of --fine_tuning_method, whose default means v2; others never worked",
    ),
    ("decode", "model_type"): ({"required": False}, "the checkpoint tells"),
    ("decode", "tokenizer_name"): ({"required": False}, "the checkpoint holds it"),
    ("decode", "input_file"): ({"default": ""}, "required unless --interactive is given"),
    ("decode", "batch_size"): ({"default": None}, "by the device; was 4, for the same outputs"),
    ("decode", "max_seq_length"): ({"default": None}, "as in training, else the original's 512"),
    ("decode", "max_tgt_length"): ({"default": None}, "as in training, else the original's 128"),
    ("decode", "mode"): ({"choices": ["s2s", "l2r"]}, "the original always refused both"),
    ("decode", "beam_size"): ({"default": None}, "the checkpoint's, else the original's 1"),
    ("decode", "min_len"): ({"default": None}, "the checkpoint's, else the original's 1"),
    ("decode", "length_penalty"): ({"default": None}, "the checkpoint's, else the original's 0"),
    ("decode", "ngram_size"): ({"default": None}, "the checkpoint's, else the original's 3"),
    ("decode", "forbid_duplicate_ngrams"): ({"default": None}, "the checkpoint's, else not"),
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
        "additional_tokens",
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
        # a teacher
        "teacher_model",
        "distill_alpha",
        "distill_temperature",
        # checkpoints, devices, memory
        "keep_checkpoints",
        "wandb_project",
        "fsdp",
        "gradient_checkpointing",
        "auto_batch_size",
        "deterministic",
        "torch_compile",
    },
    "decode": {
        "source_key",
        "target_key",
        "output_format",
        "num_return_sequences",
        "bf16",
        # ways in and out, processes, memory
        "input_format",
        "output_tokens",
        "interactive",
        "max_tokens_per_batch",
        "workers",
        "resume",
        "int8",
        "torch_compile",
        # what is searched for, what is drawn
        "length_reward",
        "repetition_penalty",
        "bad_words",
        "force_words",
        "num_beam_groups",
        "diversity_penalty",
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
    },
    "rescore": {"output_file", "collapse_punctuation"},
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
    package = Path(__file__).parents[3] / "s2s_ft"
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
