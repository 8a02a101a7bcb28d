"""What makes a decoding run the run it is: a model's config, too."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from s2s_ft.decode.identity import check_same_run, config_of
from s2s_ft.model.pretrained import load_for_training
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec


def model_in(folder: Path) -> Seq2SeqModel:
    options = ModelOptions(model_name_or_path=str(folder))
    codec = TextCodec.load(str(folder))
    return load_for_training(options, codec, max_source_length=9, max_target_length=5)


def test_where_a_config_lies_does_not_matter_but_what_it_says(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_checkpoint("bert"), tmp_path / "copy")
    model, other = model_in(tiny_checkpoint("bert")), model_in(copy)
    before = config_of(model)
    assert config_of(other) == before
    other.encoder.config.hidden_act = "relu"
    assert config_of(other) != before
    model.settings = replace(model.settings, target_type_id=0)
    assert config_of(model) != before


def test_a_journal_of_another_config_is_not_gone_on_with(tmp_path: Path) -> None:
    now = {"weights": "w", "config": "c"}
    check_same_run(tmp_path, now, now)
    check_same_run(tmp_path, {"weights": "w"}, now)  # of a version that did not look at it
    with pytest.raises(ValueError, match="config was d, now c; undo the change of --config_path"):
        check_same_run(tmp_path, {**now, "config": "d"}, now)
