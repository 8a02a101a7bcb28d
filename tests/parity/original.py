"""Golden cases as the folders that lie on users' disks: pretrained ones in their family's own
format, and fine-tuned ones as the original toolkit saves them.

Notable: how the original renames its weights before fine-tuning is written down here once more, and
held against the names, shapes, sums and norms that were recorded of it (`converted_keys.json`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CONFIG_MAPPING, AutoModelForMaskedLM, PreTrainedTokenizerFast

from tests.parity.conftest import ROBERTA_LIKE, read_json


def write_tokenizer(folder: Path, vocabulary: list[str], family: str) -> Path:
    """A tokenizer over whole words, with the special tokens of a family."""
    names = {
        "bert": ("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"),
        "roberta": ("<s>", "</s>", "<pad>", "<mask>", "<unk>"),
    }["roberta" if family in ROBERTA_LIKE else "bert"]
    words = models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=names[4])
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    roles = ("cls_token", "sep_token", "pad_token", "mask_token", "unk_token")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **dict(zip(roles, names, strict=True))
    ).save_pretrained(folder)
    return folder


def vocabulary_of(case: Path) -> list[str]:
    """The case's words, or made-up ones around the special tokens of its family."""
    inputs, config = read_json(case, "inputs"), read_json(case, "config")
    if "vocab" in inputs:
        return list(inputs["vocab"])
    size = config["vocab_size"]
    if config["model_type"] in ROBERTA_LIKE:
        words = [f"w{number}" for number in range(4, size - 1)]
        return ["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return special + [f"w{number}" for number in range(5, size)]


def write_pretrained(case: Path, folder: Path) -> Path:
    """A case's checkpoint before fine-tuning, as a pickled `.bin` like those of its time."""
    folder.mkdir(parents=True, exist_ok=True)
    config = read_json(case, "config")
    stem = "unilm1-base-cased" if config["model_type"] == "unilm" else None
    torch.save(
        load_file(case / "weights.safetensors"),
        folder / (f"{stem}.bin" if stem else "pytorch_model.bin"),
    )
    name = f"{stem}-config.json" if stem else "config.json"
    (folder / name).write_text(json.dumps(config), encoding="utf-8")
    if stem:
        (folder / f"{stem}-vocab.txt").write_text("\n".join(vocabulary_of(case)), encoding="utf-8")
    else:
        write_tokenizer(folder, vocabulary_of(case), config["model_type"])
    return folder


def write_random(
    config: dict[str, Any], folder: Path, weights: dict[str, torch.Tensor] | None = None
) -> None:
    """A random checkpoint of a config with a tokenizer; nothing where there is one already.

    Args:
        config: As its `config.json` has it; BERT's weights for families that are BERT.
        folder: Where it goes.
        weights: Weights that stand in place of random ones.
    """
    if folder.exists():
        return
    family = config["model_type"]
    kind = "bert" if family in ("unilm", "minilm") else family
    fields = {name: value for name, value in config.items() if name != "model_type"}
    if family == "unilm":
        fields.setdefault("type_vocab_size", 6)
    encoder = AutoModelForMaskedLM.from_config(CONFIG_MAPPING[kind](**fields))
    state = {**encoder.state_dict(), **(weights or {})}
    if config.get("rel_pos_bins"):
        shape = (config["num_attention_heads"], config["rel_pos_bins"])
        state["bert.encoder.rel_pos_bias.weight"] = torch.randn(shape)
    folder.mkdir(parents=True)
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    special = ["<s>", "<pad>", "</s>", "<unk>"] if family in ROBERTA_LIKE else ["[PAD]", "[UNK]"]
    special += ["<mask>"] if family in ROBERTA_LIKE else ["[CLS]", "[SEP]", "[MASK]"]
    write_tokenizer(folder, [*special, "word"], family)


def write_fine_tuned(case: Path, folder: Path, options: dict[str, Any]) -> Path:
    """A case's checkpoint as the original saves it while fine-tuning: `run/ckpt-1500`.

    Args:
        case: The golden case.
        folder: The run's folder, to be made.
        options: What `train_opt.json` of that run says.
    """
    checkpoint = folder / "ckpt-1500"
    checkpoint.mkdir(parents=True)
    (folder / "train_opt.json").write_text(json.dumps(options), encoding="utf-8")
    (checkpoint / "config.json").write_text(
        json.dumps(read_json(case, "seq2seq_config")), encoding="utf-8"
    )
    converted = bert_weights(case)
    used = read_json(case, "converted_keys")["used_by_reference_model"]
    weights = {name: converted[name] for name in used}
    words = weights["bert.embeddings.word_embeddings.weight"]
    weights["cls.predictions.decoder_weight"] = words
    weights["crit_mask_lm_smoothed.one_hot"] = torch.full((1, len(words)), 0.1 / (len(words) - 2))
    torch.save(weights, checkpoint / "pytorch_model.bin")
    torch.save({"optimizer": {}, "lr_scheduler": {}}, checkpoint / "optim.bin")
    return checkpoint


def bert_weights(case: Path) -> dict[str, torch.Tensor]:
    """A case's weights under BERT's names, checked against what was recorded of the original's."""
    converted: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(case / "weights.safetensors").items():
        converted.update(_bert_named(name, tensor))
    recorded = read_json(case, "converted_keys")["converted"]
    assert set(converted) == set(recorded)
    for name, wanted in recorded.items():
        assert list(converted[name].shape) == wanted["shape"], name
        assert converted[name].double().norm().item() == pytest.approx(wanted["l2"], rel=1e-6), name
    return converted


def _bert_named(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    name = name.replace(".gamma", ".weight").replace(".beta", ".bias")
    if name == "roberta.embeddings.token_type_embeddings.weight":
        return {}
    if name == "roberta.embeddings.position_embeddings.weight":
        tensor = tensor[2:]
    if name.startswith("lm_head."):
        inner = re.sub(r"^(dense|layer_norm)", r"transform.\1", name.removeprefix("lm_head."))
        return {"cls.predictions." + inner.replace("layer_norm", "LayerNorm"): tensor}
    name = re.sub(r"^(roberta|electra)\.", "bert.", name)
    if name == "bert.encoder.rel_pos_bias.weight":
        return {"bert.rel_pos_bias.weight": tensor}
    start = name.rpartition(".self.")[0] + ".self."
    if name.endswith("qkv_linear.weight"):
        query, key, value = tensor.chunk(3)
        return {
            f"{start}query.weight": query,
            f"{start}key.weight": key,
            f"{start}value.weight": value,
        }
    if name.endswith("q_bias"):
        return {
            f"{start}query.bias": tensor.flatten(),
            f"{start}key.bias": torch.zeros(tensor.numel()),
        }
    if name.endswith("v_bias"):
        return {f"{start}value.bias": tensor.flatten()}
    return {name: tensor}
