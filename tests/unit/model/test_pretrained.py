"""Checkpoints in and out: every family round-trips, a missing head is made, and what cannot be
used is refused.
"""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForMaskedLM
from transformers import logging as progress

from s2s_ft.methods import METHODS, method_named
from s2s_ft.model.positions import num_positions
from s2s_ft.model.pretrained import load_finetuned, load_for_training, load_weights, save
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.conftest import FAMILIES, write_checkpoint
from tests.unit.model.test_attention import batch_of


def options(folder: Path, **changes: object) -> ModelOptions:
    return ModelOptions(model_name_or_path=str(folder), **changes)  # type: ignore[arg-type]


def loaded(folder: Path, source: int = 24, target: int = 10, **changes: object):  # type: ignore[no-untyped-def]
    codec = TextCodec.load(str(folder))
    model = load_for_training(
        options(folder, **changes), codec, max_source_length=source, max_target_length=target
    )
    return model, codec


@pytest.mark.parametrize("method_name", [method.name for method in METHODS])
@pytest.mark.parametrize("family", FAMILIES)
def test_saved_checkpoint_is_the_same_model(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, family: str, method_name: str
) -> None:
    model, codec = loaded(tiny_checkpoint(family), fine_tuning_method=method_name)
    save(model, codec, tmp_path)
    again = load_finetuned(str(tmp_path))
    batch = batch_of(6, 4, pseudo=method_name == "pseudo_mask")
    with torch.no_grad():
        assert torch.equal(again.logits(batch), model.eval().logits(batch))
    assert again.settings == model.settings
    assert again.settings.method == method_name
    assert method_named(
        method_name, special=codec.special, max_source_length=9, max_target_length=9
    )
    assert (tmp_path / "generation_config.json").exists()
    tokens = TextCodec.load(str(tmp_path))
    assert tokens.encode(["the linux program ."]) == codec.encode(["the linux program ."])


def test_transformers_opens_them_without_us(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """A process that never imports this package reads every family's folder as its own."""
    folders = []
    for family in FAMILIES:
        model, codec = loaded(tiny_checkpoint(family))
        folders.append(tmp_path / family)
        folders[-1].mkdir()
        save(model, codec, folders[-1])
    code = (
        "import sys, torch\nfrom transformers import AutoModelForMaskedLM\n"
        "for folder in sys.argv[1:]:\n"
        "    load = AutoModelForMaskedLM.from_pretrained\n"
        "    model, report = load(folder, output_loading_info=True)\n"
        "    assert not report['missing_keys'], report\n"
        "    assert model(torch.tensor([[2, 5, 3]])).logits.isfinite().all()\n"
        "assert 's2s_ft' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_weights_go_back_into_the_same_model(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    model, codec = loaded(tiny_checkpoint("unilm"))
    save(model, codec, tmp_path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    load_weights(model, tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def without_head(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint as a sentence encoder's: its body alone."""
    folder.mkdir()
    for file in checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    body = {
        name: tensor
        for name, tensor in weights.items()
        if name.split(".")[0] in ("bert", "electra", "roberta")
    }
    save_file(body, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("has_bars", [True, False])
def test_progress_bars_are_afterwards_as_they_were(
    tiny_checkpoint: Callable[[str], Path], has_bars: bool
) -> None:
    (progress.enable_progress_bar if has_bars else progress.disable_progress_bar)()
    loaded(tiny_checkpoint("bert"))
    is_enabled = progress.is_progress_bar_enabled()
    progress.enable_progress_bar()
    assert is_enabled == has_bars


@pytest.mark.parametrize("family", ["bert", "electra", "roberta"])
def test_missing_head_is_made_and_said(
    tiny_checkpoint: Callable[[str], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    family: str,
) -> None:
    folder = without_head(tiny_checkpoint(family), tmp_path / "body")
    with caplog.at_level(logging.WARNING):
        model, _ = loaded(folder)
    assert "no masked-LM head" in caplog.text
    dense = {
        "bert": lambda e: e.cls.predictions.transform.dense,
        "roberta": lambda e: e.lm_head.dense,
        "electra": lambda e: e.generator_predictions.dense,
    }[family](model.encoder)
    if family == "electra":  # factorised embedding: the way back from hidden to embedding size
        product = dense.weight @ model.encoder.electra.embeddings_project.weight
        torch.testing.assert_close(product, torch.eye(16), atol=1e-4, rtol=1e-4)
    else:
        assert torch.equal(dense.weight, torch.eye(32))
    assert torch.equal(dense.bias, torch.zeros_like(dense.bias))
    random, _ = loaded(folder, fresh_head="random")
    assert random is not None
    assert "random start" in caplog.text


def test_a_start_of_a_head_that_is_there_is_told_to_do_nothing(
    tiny_checkpoint: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    loaded(tiny_checkpoint("bert"), fresh_head="identity")
    assert "fresh_head" not in caplog.text
    loaded(tiny_checkpoint("bert"), fresh_head="random")
    assert "--fresh_head has no effect" in caplog.text


def test_position_table_grows_with_the_lengths(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    for family in ("bert", "roberta"):
        model, codec = loaded(tiny_checkpoint(family), source=70, target=30)
        assert num_positions(model.encoder) == 100
        batch = batch_of(70, 30, pseudo=True)
        assert model.logits(batch).isfinite().all()
        folder = tmp_path / family
        folder.mkdir()
        save(model, codec, folder)
        assert num_positions(load_finetuned(str(folder)).encoder) == 100


def test_dropout_is_overridden_everywhere(tiny_checkpoint: Callable[[str], Path]) -> None:
    for family in ("bert", "modernbert", "eurobert"):
        model, _ = loaded(tiny_checkpoint(family), dropout=0.0)
        batch = batch_of(6, 4, pseudo=True)
        assert model.training
        assert torch.equal(model.logits(batch), model.logits(batch))
    model, _ = loaded(tiny_checkpoint("bert"), dropout=0.5)
    assert not torch.equal(model.logits(batch), model.logits(batch))


def test_word_embeddings_can_be_frozen(tiny_checkpoint: Callable[[str], Path]) -> None:
    model, _ = loaded(tiny_checkpoint("bert"), fix_word_embedding=True)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["encoder.bert.embeddings.word_embeddings.weight"]


def copied(checkpoint: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


class RunsCode:
    """A pickle of this would create a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_bad_folders_are_told_in_one_line(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    good = tiny_checkpoint("bert")
    witness = tmp_path / "code-was-run"

    def truncated(folder: Path) -> None:
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[: len(data) // 2])

    def pickled(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(RunsCode(witness)))

    def wrong_shape(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 17}))

    def missing_layers(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))

    breakages: list[tuple[str, Callable[[Path], object], str]] = [
        ("no-config", lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        ("bad-json", lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        ("no-object", lambda folder: (folder / "config.json").write_text("[]"), "is not a config"),
        ("no-family", lambda folder: (folder / "config.json").write_text("{}"), "no usable config"),
        ("no-weights", lambda folder: (folder / "model.safetensors").unlink(), "has no weights"),
        ("truncated", truncated, "damaged or incomplete"),
        ("pickled", pickled, "pytorch_model.bin holds more than tensors"),
        ("wrong-shape", wrong_shape, "2 weights do not fit config.json"),
        ("missing-layers", missing_layers, "do not fit its config; 32 missing"),
    ]
    for name, breakage, message in breakages:
        folder = copied(good, tmp_path / name)
        breakage(folder)
        with pytest.raises(ValueError, match=message) as caught:
            load_finetuned(str(folder))
        assert "\n" not in str(caught.value)
    assert not witness.exists()
    with pytest.raises(ValueError, match=r"--model_path .*nowhere: there is no such folder"):
        load_finetuned(str(tmp_path / "nowhere"))


def test_training_folder_names_its_newest_checkpoint(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    for step in (2, 10):
        copied(tiny_checkpoint("bert"), tmp_path / f"ckpt-{step}")
    with pytest.raises(ValueError, match=r"training folder; name a checkpoint in it: .*ckpt-10"):
        load_finetuned(str(tmp_path))


def test_tokenizer_must_fit_the_embeddings(tmp_path: Path, tiny_tokenizer_folder: Path) -> None:
    folder = write_checkpoint(tmp_path / "small", "bert", tiny_tokenizer_folder, vocab_size=20)
    with pytest.raises(ValueError, match=r"--tokenizer_name: .*do not fit the 20 embeddings"):
        loaded(folder)


def test_old_names_are_read_like_new_ones(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """A BERT checkpoint under its first names, in a `.bin` file, is the same model."""
    folder = copied(tiny_checkpoint("bert"), tmp_path / "old")
    weights = load_file(folder / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in weights.items()
    }
    (folder / "model.safetensors").unlink()
    torch.save(old, folder / "pytorch_model.bin")
    batch = batch_of(6, 4, pseudo=True)
    with torch.no_grad():
        ours = load_finetuned(str(folder)).logits(batch)
        assert torch.equal(ours, load_finetuned(str(tiny_checkpoint("bert"))).logits(batch))


def test_plain_config_stays_that_of_the_family(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    model, codec = loaded(tiny_checkpoint("modernbert"))
    save(model, codec, tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).model_type == "modernbert"
    assert type(AutoModelForMaskedLM.from_pretrained(tmp_path)).__name__ == "ModernBertForMaskedLM"
