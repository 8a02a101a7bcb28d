"""Loading the golden cases: numbers measured on the original toolkit, one folder a case (format in
golden/README.md).

Notable: a model is always loaded from the case's files on disk through the package's own loading
code. Cases come from the folder in the environment variable S2S_FT_GOLDEN, by default the copy
beside this file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2s_ft.corruption import Corruption
from s2s_ft.layout import Batch, Corrupted
from s2s_ft.methods import Method, method_named
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.text import SpecialIds

GOLDEN = Path(os.environ.get("S2S_FT_GOLDEN") or Path(__file__).parent / "golden")

METHOD_OF_WAY = {"v0": "causal", "v1": "masked", "v2": "pseudo_mask"}

ROBERTA_LIKE = ("roberta", "xlm-roberta")


def cases(prefix: str) -> list[Path]:
    """The case folders of one kind; a folder without any is a mistake that must not pass."""
    found = sorted(path for path in GOLDEN.glob(f"{prefix}*") if path.is_dir())
    assert found, f"no golden case {prefix}* in {GOLDEN}"
    return found


def read_json(case: Path, name: str) -> Any:
    """One of a case's JSON files."""
    return json.loads((case / f"{name}.json").read_text(encoding="utf-8"))


def golden_method(options: dict[str, Any]) -> Method:
    """The method that a case's dataset options describe."""
    return method_named(
        METHOD_OF_WAY[options["mask_way"]],
        special=SpecialIds(
            cls=options["cls_id"],
            sep=options["sep_id"],
            pad=options["pad_id"],
            mask=options["mask_id"],
            vocab_size=options["vocab_size"],
        ),
        max_source_length=options["max_source_len"],
        max_target_length=options["max_target_len"],
        corruption=Corruption(
            random_prob=options["random_prob"],
            keep_prob=options["keep_prob"],
            source_mask_prob=options["source_mask_prob"],
            target_mask_prob=options["target_mask_prob"],
            num_max_mask_token=options["num_max_mask_token"],
        ),
    )


def golden_batch(method: Method, variant: dict[str, Any], rows: slice = slice(None)) -> Batch:
    """The recorded tensors of a training step as a batch, their randomness already inside."""
    examples = []
    for row in range(len(variant["source_ids"]))[rows]:
        num_source, num_target = (
            variant["num_source_tokens"][row],
            variant["num_target_tokens"][row],
        )
        source = np.array(variant["source_ids"][row][:num_source])
        target = np.array(variant["target_ids"][row][:num_target])
        if "pseudo_ids" in variant:
            pseudo = np.array(variant["pseudo_ids"][row][:num_target])
            read, labels = np.arange(num_target), np.array(variant["label_ids"][row][:num_target])
        else:
            pseudo = np.empty(0, dtype=np.int64)
            weight = np.array(variant["masked_weight"][row], dtype=bool)
            read = np.array(variant["masked_pos"][row])[weight]
            labels = np.array(variant["masked_ids"][row])[weight]
        examples.append(Corrupted(source, target, pseudo, read, labels))
    return method.lay_out(examples)


@pytest.fixture
def load_golden_model(tmp_path: Path) -> Callable[..., Seq2SeqModel]:
    """A function that loads a case's model from its config and weight files."""

    def load(case: Path) -> Seq2SeqModel:
        folder = tmp_path / case.name
        folder.mkdir(exist_ok=True)
        for name, link in (
            ("config.json", "config.json"),
            ("weights.safetensors", "model.safetensors"),
        ):
            if not (folder / link).exists():
                (folder / link).symlink_to((case / name).resolve())
        return load_finetuned(str(folder))

    return load
