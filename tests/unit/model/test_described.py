"""What a config says of a checkpoint, and another one that takes its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from s2s_ft.model.pretrained import load_finetuned, load_for_training, save
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec


def test_another_config_leaves_what_the_checkpoint_says_of_its_training(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, plain = tmp_path / "fine-tuned", tmp_path / "config.json"
    folder.mkdir()
    source = str(tiny_checkpoint("bert"))
    options = ModelOptions(model_name_or_path=source, fine_tuning_method="causal")
    codec = TextCodec.load(source)
    model = load_for_training(options, codec, max_source_length=24, max_target_length=10)
    save(model, codec, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    block = config.pop("s2s_ft")
    plain.write_text(json.dumps(config | {"hidden_act": "relu"}), encoding="utf-8")
    again = load_finetuned(str(folder), config_path=str(plain))
    assert again.settings == model.settings
    assert again.encoder.config.hidden_act == "relu"
    assert "was not fine-tuned" not in caplog.text
    plain.write_text(json.dumps(config | {"s2s_ft": {**block, "method": "masked"}}))
    assert load_finetuned(str(folder), config_path=str(plain)).settings.method == "masked"
    (folder / "config.json").unlink()
    plain.write_text(json.dumps(config), encoding="utf-8")
    load_finetuned(str(folder), config_path=str(plain))
    assert f"was not fine-tuned with this tool: {plain} has no 's2s_ft' block" in caplog.text
