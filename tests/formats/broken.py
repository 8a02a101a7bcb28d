"""Ways to break a checkpoint folder; each function is given a copy of a whole BERT checkpoint."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MARKER = "code-was-run"
"""Name of the file that a malicious checkpoint would make."""


class RunsCode:
    """A pickle of this makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def malicious(folder: Path) -> bytes:
    """A pickle that runs code."""
    return pickle.dumps(RunsCode(folder / MARKER), protocol=2)  # as torch.save writes them


def config_changed(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        (folder / CONFIG).write_text(json.dumps({**config, **changes}), encoding="utf-8")

    return spoil


def written(file: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(content) and None


def without(*files: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for file in files:
            (folder / file).unlink()

    return spoil


def emptied(folder: Path) -> None:
    without(*(file.name for file in folder.iterdir()))(folder)


def weights_replaced(file: str, content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / file).write_bytes(content)

    return spoil


def cut_in_half(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def swapped(folder: Path) -> None:
    (folder / CONFIG).write_bytes((folder / WEIGHTS).read_bytes())


def config_as_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / CONFIG).read_bytes())


def pickled(folder: Path) -> None:
    weights_replaced("pytorch_model.bin", malicious(folder))(folder)


def pickled_among_tensors(folder: Path) -> None:
    """In the archive that torch.save writes, beside weights that are as they should be."""
    weights: dict[str, Any] = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save({**weights, "step": RunsCode(folder / MARKER)}, folder / "pytorch_model.bin")


def pickles_beside(folder: Path) -> None:
    for file in (
        "training_args.bin",
        "optimizer.pt",
        "scheduler.pt",
        "vocab.pkl",
        "tokenizer.pickle",
        "features.npy",
    ):
        (folder / file).write_bytes(malicious(folder))


def code_beside(folder: Path) -> None:
    """Code that transformers would run if it were trusted."""
    program = f"open({str(folder / MARKER)!r}, 'w')\n"
    (folder / "modeling.py").write_text(program, encoding="utf-8")
    classes = {"AutoConfig": "modeling.Config", "AutoModelForMaskedLM": "modeling.Model"}
    config_changed(model_type="homemade", auto_map=classes)(folder)


def shard_missing(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model-1.safetensors").write_bytes(b"x")


def index_damaged(folder: Path) -> None:
    weights_replaced(f"{WEIGHTS}.index.json", b'{"weight_map": 3}')(folder)


def not_finite(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    for layer in (0, 1):
        weights[f"bert.encoder.layer.{layer}.output.dense.bias"][0] = torch.nan
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def relative_bias_unannounced(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["bert.encoder.rel_pos_bias.weight"] = torch.zeros(4, 32)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def more_tokens(folder: Path) -> None:
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.writelines(f"\nmore{number}" for number in range(9))


def other_tokenizer(folder: Path) -> None:
    config_changed(cls_token_id=0, sep_token_id=2, pad_token_id=1)(folder)


def token_twice(folder: Path) -> None:
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    lines[7] = lines[9]
    (folder / "vocab.txt").write_text("\n".join(lines), encoding="utf-8")


def training_folder(folder: Path) -> None:
    (folder / "ckpt-1500").mkdir()
    for file in list(folder.iterdir()):
        if file.is_file():
            file.rename(folder / "ckpt-1500" / file.name)


def adapter(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    base = {"base_model_name_or_path": "bert-base-uncased"}
    (folder / "adapter_config.json").write_text(json.dumps(base), encoding="utf-8")


def fine_tuned_elsewhere(folder: Path) -> None:
    without("vocab.txt", "tokenizer_config.json")(folder)
    config_changed(architectures=["BertForSequenceToSequenceWithPseudoMask"])(folder)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 438\n"
PAGE = b"<?xml version='1.0'?><Error><Code>PublicAccessNotPermitted</Code></Error>"
