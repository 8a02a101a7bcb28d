"""Golden A2: growth of position tables, config conversion, relative-position buckets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from s2s_ft.convert.__main__ import main
from s2s_ft.model.positions import (
    num_positions,
    position_table,
    relative_position_bucket,
    resized_rows,
)
from s2s_ft.model.pretrained import load_for_training
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.parity.conftest import ROBERTA_LIKE, cases, read_json
from tests.parity.original import write_random


@pytest.mark.parametrize("case", cases("a2_relative"), ids=lambda case: case.name)
def test_relative_position_buckets(case: Path) -> None:
    for given, buckets in zip(
        read_json(case, "inputs")["cases"], read_json(case, "expected")["cases"], strict=True
    ):
        first, last = given["relative_position(key-query)"]
        distance = torch.arange(first, last + 1)
        ours = relative_position_bucket(distance, given["num_buckets"], given["max_distance"])
        assert ours.tolist() == buckets


TABLES = [
    pytest.param(given, wanted, id=f"{case.name}-{number}")
    for case in cases("a2_position")
    for number, (given, wanted) in enumerate(
        zip(read_json(case, "inputs")["cases"], read_json(case, "expected")["cases"], strict=True)
    )
]


@pytest.mark.parametrize("way", ["rows", "disk"])
@pytest.mark.parametrize(("given", "wanted"), TABLES)
def test_position_tables(
    given: dict[str, Any], wanted: dict[str, Any], way: str, tmp_path: Path
) -> None:
    """The original cuts the two offset rows of RoBERTa off; ours keeps them before the same
    rows. Through files on disk a table never shrinks.
    """
    before, size = torch.tensor(given["before"]), given["requested_max_position_embeddings"]
    offset = 2 if given["family"] in ROBERTA_LIKE else 0
    if way == "rows":
        ours = resized_rows(before, size, offset)
    else:
        write_random(given["config"], tmp_path / "in", {given["on_disk_key"]: before})
        table = position_table(from_disk(given["config"], size, tmp_path).encoder)
        assert table is not None
        assert len(table.weight) == offset + max(size, len(before) - offset)
        ours = table.weight.detach()[: offset + size]
    assert list(ours[offset:].shape) == wanted["after_shape"]
    assert torch.equal(ours[:offset], before[:offset])
    if "after" in wanted:
        np.testing.assert_allclose(ours[offset:], wanted["after"], atol=1e-7)
    else:  # its other choice draws new rows at random; we always tile: only the old rows agree
        first = torch.tensor(wanted["after_first_rows"])
        np.testing.assert_allclose(ours[offset : offset + len(first)], first, atol=1e-7)


def from_disk(config: dict[str, Any], size: int | None, folder: Path) -> Seq2SeqModel:
    """A checkpoint of a config, written as its family has it, converted, and grown for training."""
    write_random(config, folder / "in")
    arguments = ["--model_path", str(folder / "in"), "--output_dir", str(folder / "out")]
    assert main(arguments) == 0
    return load_for_training(
        ModelOptions(model_name_or_path=str(folder / "out")),
        TextCodec.load(folder / "out"),
        max_source_length=(size or 20) - 10,
        max_target_length=10,
    )


def essential_of(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The original's essential fields as a converted checkpoint and our settings have them."""
    model = from_disk(given["config"], given["args"]["max_position_embeddings"], folder)
    encoder, settings = model.encoder, model.settings
    shared = (
        "vocab_size hidden_size num_hidden_layers num_attention_heads hidden_act intermediate_size "
        "hidden_dropout_prob attention_probs_dropout_prob type_vocab_size initializer_range "
        "layer_norm_eps pad_token_id"
    )
    return {
        **{name: getattr(encoder.config, name) for name in shared.split()},
        "max_position_embeddings": num_positions(encoder),
        "source_type_id": settings.source_type_id,
        "target_type_id": settings.target_type_id,
        "rel_pos_bins": settings.relative_position_buckets,
        "max_rel_pos": settings.relative_position_max_distance,
    }


def known_differences(given: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What we do otherwise on purpose: the value that stands in place of the original's."""
    if given["family"] not in ROBERTA_LIKE:
        return {}
    # The family keeps its own padding id and its one token type, which the original drops (see
    # SPEC-like notes in README, "What is different"); and a table is grown as soon as the lengths
    # need it, where the original compares them with a table size that counts the offset rows, and
    # would read beyond the table.
    changed = {"pad_token_id": 1, "type_vocab_size": given["config"].get("type_vocab_size", 2)}
    requested = given["args"]["max_position_embeddings"]
    if requested is not None and requested > wanted["max_position_embeddings"]:
        changed["max_position_embeddings"] = requested
    return changed


CONVERSIONS = [
    pytest.param(given, wanted["essential"], id=f"{case.name}-{number}")
    for case in cases("a2_config")
    for number, (given, wanted) in enumerate(
        zip(read_json(case, "inputs")["cases"], read_json(case, "expected")["cases"], strict=True)
    )
]


@pytest.mark.parametrize(("given", "wanted"), CONVERSIONS)
def test_config_conversion(given: dict[str, Any], wanted: dict[str, Any], tmp_path: Path) -> None:
    ours = essential_of(given, tmp_path)
    # Label smoothing and frozen embeddings are options of a run here, not fields of a config.
    fields = {name: value for name, value in wanted.items() if name in ours}
    assert set(wanted) - set(fields) == {"label_smoothing", "fix_word_embedding"}
    assert ours == {**fields, **known_differences(given, wanted)}, given["note"]
