"""Position tables beyond their size, in every family that has one: rows tile, offsets stay, the old
positions mean what they meant, and transformers opens what is saved.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM

from s2s_ft.model.positions import num_positions, position_offset, position_table
from s2s_ft.model.pretrained import load_finetuned, load_for_training, save
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.unit.model.test_attention import batch_of

OFFSET = {"roberta": 1, "xlm-roberta": 1, "camembert": 1}
"""Rows before position 0 with the tiny checkpoints' padding id 0; other families have none."""

WITH_TABLE = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "ernie", "unilm", "minilm")
ROTARY = ("modernbert", "eurobert")


def loaded(folder: Path, source: int, target: int) -> tuple[Seq2SeqModel, TextCodec]:
    codec = TextCodec.load(str(folder))
    options = ModelOptions(model_name_or_path=str(folder), dropout=0.0)
    model = load_for_training(options, codec, max_source_length=source, max_target_length=target)
    return model, codec


@pytest.mark.parametrize("family", WITH_TABLE)
def test_table_grows(tiny_checkpoint: Callable[[str], Path], tmp_path: Path, family: str) -> None:
    before, _ = loaded(tiny_checkpoint(family), 20, 10)
    after, codec = loaded(tiny_checkpoint(family), 150, 50)
    offset, size = position_offset(before.encoder), num_positions(before.encoder)
    assert offset == OFFSET.get(family, 0)
    assert size == 64 - offset
    assert num_positions(after.encoder) == 200
    old, new = position_table(before.encoder), position_table(after.encoder)
    assert old is not None
    assert new is not None
    assert torch.equal(new.weight[:64], old.weight)
    for position in (size, size + 5, 3 * size - 1, 199):
        assert torch.equal(new.weight[offset + position], old.weight[offset + position % size])
    short, long = batch_of(20, 8, pseudo=True), batch_of(140, 40, pseudo=True)
    with torch.no_grad():
        assert torch.equal(before.logits(short), after.logits(short))
        assert after.logits(long).isfinite().all()
    save(after, codec, tmp_path)
    again = load_finetuned(str(tmp_path))
    with torch.no_grad():
        assert torch.equal(again.logits(long), after.logits(long))
    own = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert own.config.max_position_embeddings == 200 + offset
    assert own(torch.full((1, 190), 7)).logits.isfinite().all()


@pytest.mark.parametrize("family", ROTARY)
def test_rotary_positions_need_no_table(
    tiny_checkpoint: Callable[[str], Path], family: str
) -> None:
    model, _ = loaded(tiny_checkpoint(family), 150, 50)
    assert num_positions(model.encoder) is None
    assert model.logits(batch_of(140, 40, pseudo=True)).isfinite().all()
