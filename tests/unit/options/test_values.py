"""Values that are refused, each by the name of its flag, and values that are not."""

from typing import Any

import pytest

from tests.unit.options.commands import decode, train


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train_file": " "}, ["--train_file", "empty"]),
        ({"output_dir": ""}, ["--output_dir", "empty"]),
        ({"output_dir": "b\udcff"}, [r"--output_dir 'b\udcff'", "not in UTF-8"]),
        ({"train_file": "\udcff.jsonl"}, [r"--train_file '\udcff.jsonl'", "not in UTF-8"]),
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
        ({"additional_tokens": "a.txt"}, {"peft": "lora", "peft_save": "adapter"}),
        ({"peft": "dora"}, {"unfreeze_steps": 10}),
        ({"teacher_model": "t"}, {"fsdp": True}),
        ({"teacher_model": "t"}, {"additional_tokens": "a.txt"}),
        ({"unfreeze_steps": 10}, {"fsdp": True}),
        ({"unfreeze_steps": 10}, {"torch_compile": True}),
        ({"fsdp": True}, {"torch_compile": True}),
        ({"deterministic": True}, {"torch_compile": True}),
        ({"auto_batch_size": True}, {"max_tokens_per_batch": 4096}),
        ({"global_batch_size": 32}, {"gradient_accumulation_steps": 2}),
        ({"peft": None}, {"lora_rank": 8}),
        ({"peft": None}, {"lora_alpha": 8.0}),
        ({"peft": None}, {"peft_targets": "query"}),
        ({"peft": None}, {"peft_save": "adapter"}),
        ({"dev_file": None}, {"num_dev_examples": 5}),
        ({"dev_file": None}, {"eval_steps": 5}),
        ({"dev_file": None}, {"eval_metric": "bleu"}),
        ({"dev_file": None}, {"eval_beam_size": 5}),
        ({"dev_file": None}, {"eval_length_penalty": 0.9}),
        ({"dev_file": None}, {"eval_batch_size": 4}),
        ({"dev_file": None}, {"num_samples": 0}),
        ({"dev_file": None}, {"early_stopping_patience": 2}),
    ],
)
def test_flags_that_do_not_go_together_are_both_named(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    for alone in (one, other):
        if None not in one.values():
            train(**alone)
    with pytest.raises(ValueError, match="--") as caught:
        train(**one, **other)
    assert all(f"--{name}" in str(caught.value) for name in (*one, *other)), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["lora_rank", "lora_alpha", "lora_dropout"])
def test_an_adapter_without_a_rank_takes_none_of_its_flags(name: str) -> None:
    train(peft="dora", **{name: 0.5 if name == "lora_dropout" else 8})
    with pytest.raises(ValueError, match=f"--{name} has no effect with --peft ia3"):
        train(peft="ia3", **{name: 0.5 if name == "lora_dropout" else 8})


def test_flags_that_switch_nothing_on_go_together() -> None:
    train(layer_decay=1, unfreeze_steps=0, peft="lora", fsdp=False)
    train(peft="ia3", lora_rank=16, lora_alpha=32.0, lora_dropout=0.0, peft_targets="query")
    train(eval_beam_size=1, eval_batch_size=32, num_samples=3, eval_length_penalty=0.0)
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
        ({"length_penalty": float("inf")}, ["--length_penalty is inf", "at most 30"]),
        ({"batch_size": 0}, ["--batch_size is 0"]),
        ({"fp16": True, "bf16": True}, ["--fp16 and --bf16"]),
        ({"length_reward": float("inf")}, ["--length_reward is inf", "at most 100"]),
        (
            {"length_reward": 0.1, "length_penalty": 1.0},
            ["--length_reward 0.1", "--length_penalty 1"],
        ),
        ({"repetition_penalty": 0.0}, ["--repetition_penalty is 0.0", "above 0"]),
        ({"repetition_penalty": float("nan")}, ["--repetition_penalty is nan"]),
        ({"temperature": 0.0}, ["--temperature is 0.0", "at least 1e-06"]),
        ({"top_k": -1}, ["--top_k is -1", "at least 0"]),
        ({"top_p": 0.0}, ["--top_p is 0.0", "above 0"]),
        ({"top_p": 1.01}, ["--top_p is 1.01", "from 0 to 1"]),
        ({"min_p": -0.5}, ["--min_p is -0.5", "from 0 to 1"]),
        ({"typical_p": 2.0}, ["--typical_p is 2.0", "from 0 to 1"]),
        ({"num_beam_groups": 0}, ["--num_beam_groups is 0"]),
        (
            {"num_beam_groups": 2, "beam_size": 5},
            ["--num_beam_groups 2", "--beam_size 5", "divide"],
        ),
        ({"num_beam_groups": 2, "diversity_penalty": 0.0}, ["--diversity_penalty above 0"]),
        ({"num_beam_groups": 1, "diversity_penalty": 0.3}, ["--num_beam_groups above 1"]),
        ({"diversity_penalty": -0.3}, ["--diversity_penalty is -0.3"]),
        ({"force_words": "a", "num_beam_groups": 2}, ["--force_words", "--num_beam_groups 2"]),
        ({"force_words": ""}, ["--force_words is empty"]),
        ({"bad_words": " "}, ["--bad_words is empty"]),
        ({"do_sample": True, "beam_size": 3}, ["--do_sample", "--beam_size 3"]),
        ({"do_sample": True, "num_beam_groups": 3}, ["--do_sample", "--num_beam_groups 3"]),
        ({"do_sample": True, "force_words": "a"}, ["--do_sample", "--force_words a"]),
        ({"do_sample": True, "need_score_traces": True}, ["--do_sample", "--need_score_traces"]),
        ({"do_sample": False, "top_p": 0.9}, ["--top_p 0.9", "--do_sample"]),
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
