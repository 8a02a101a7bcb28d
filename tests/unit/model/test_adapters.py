"""Adapters: what they train, what a checkpoint of them holds, and that it is the same again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM

from s2s_ft.cli import EnvironmentFault
from s2s_ft.model.adapters import add_adapter, merged_weights, trainable_state
from s2s_ft.model.pretrained import (
    load_finetuned,
    load_for_resume,
    load_for_training,
    save,
)
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options.adapter import AdapterOptions
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.conftest import FAMILIES
from tests.unit.model.test_attention import batch_of
from tests.unit.model.test_pretrained import without_head

KINDS = ("lora", "dora", "ia3")
BATCH = batch_of(6, 4, pseudo=True)


def adapted(
    folder: Path, kind: str = "lora", target: int = 10, **changes: Any
) -> tuple[Seq2SeqModel, TextCodec]:
    codec = TextCodec.load(str(folder))
    options = ModelOptions(model_name_or_path=str(folder), dropout=0.0)
    model = load_for_training(options, codec, max_source_length=24, max_target_length=target)
    torch.manual_seed(1)
    values: dict[str, Any] = {"peft": kind, **changes}
    add_adapter(model, AdapterOptions(**values))
    return model, codec


def train(model: Seq2SeqModel, steps: int = 3) -> None:
    """A few large updates, so that an adapter is far from its first values."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(steps):
        model.loss(BATCH, 0.1).backward()
        optimizer.step()
        optimizer.zero_grad()


def logits(model: Seq2SeqModel) -> Tensor:
    with torch.no_grad():
        return model.eval().logits(BATCH)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_layer_of_the_layers_is_adapted_and_nothing_else_is_trained(
    tiny_checkpoint: Callable[[str], Path], family: str
) -> None:
    plain = load_finetuned(str(tiny_checkpoint(family)))
    linear = [
        name
        for name, module in plain.named_modules()
        if isinstance(module, nn.Linear) and ".layer" in name
    ]
    model, _ = adapted(tiny_checkpoint(family))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        f"{name}.lora_{part}.default.weight" for name in linear for part in ("A", "B")
    }
    assert torch.equal(logits(model), logits(plain))  # an adapter starts as nothing
    train(model)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert moved == trained


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_merged_checkpoint_is_a_plain_one_of_the_same_model(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, family: str, kind: str
) -> None:
    model, codec = adapted(tiny_checkpoint(family), kind)
    train(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save(model, codec, tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    plain = load_finetuned(str(tiny_checkpoint(family)))
    assert merged_weights(model).keys() == plain.state_dict().keys()
    again = load_finetuned(str(tmp_path))
    torch.testing.assert_close(logits(again), logits(model), atol=1e-4, rtol=1e-4)
    assert (logits(again) - logits(plain)).abs().max() > 0.01
    assert not list(tmp_path.glob("adapter*"))
    theirs, report = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert type(theirs) is type(model.encoder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_adapter_by_itself_is_the_same_model(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, family: str, kind: str
) -> None:
    # 24 + 60 positions: more than the table of the pretrained encoder has.
    model, codec = adapted(tiny_checkpoint(family), kind, target=60, peft_save="adapter")
    train(model)
    save(model, codec, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    again = load_finetuned(str(tmp_path))
    torch.testing.assert_close(logits(again), logits(model), atol=1e-4, rtol=1e-4)
    assert again.settings == model.settings
    plain = load_finetuned(str(tiny_checkpoint(family)))
    assert again.state_dict().keys() == plain.state_dict().keys()
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_checkpoint(family))
    assert TextCodec.load(str(tmp_path)).encode(["the file"]) == codec.encode(["the file"])


HEADLESS = ("bert", "roberta", "electra")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", HEADLESS)
def test_fresh_head_is_trained_and_saved_with_the_adapter(
    tiny_checkpoint: Callable[[str], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    family: str,
    kind: str,
) -> None:
    body = without_head(tiny_checkpoint(family), tmp_path / "body")
    model, codec = adapted(body, kind, peft_save="adapter")
    head = {name for name in trainable_state(model) if ".layer." not in name}
    plain = load_finetuned(str(tiny_checkpoint(family)))
    own = f"encoder.{plain.encoder.base_model_prefix}."
    assert head == {name for name, _ in plain.named_parameters() if not name.startswith(own)}
    train(model)
    (tmp_path / "saved").mkdir()
    save(model, codec, tmp_path / "saved")
    caplog.clear()
    again = load_finetuned(str(tmp_path / "saved"))
    assert "no masked-LM head" not in caplog.text
    torch.testing.assert_close(logits(again), logits(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("with_head", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", HEADLESS)
def test_peft_reads_the_adapter(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, family: str, kind: str, with_head: bool
) -> None:
    base = tiny_checkpoint(family)
    if not with_head:
        base = without_head(base, tmp_path / "body")
    model, codec = adapted(base, kind, peft_save="adapter")
    train(model)
    (tmp_path / "saved").mkdir()
    save(model, codec, tmp_path / "saved")
    theirs = PeftModel.from_pretrained(
        AutoModelForMaskedLM.from_pretrained(base), str(tmp_path / "saved")
    ).eval()
    merged = {
        name.removeprefix("encoder."): tensor for name, tensor in merged_weights(model).items()
    }
    ours = AutoModelForMaskedLM.from_pretrained(base)
    ours.load_state_dict(merged)
    ids = torch.tensor([[2, 7, 9, 11, 3]])
    with torch.no_grad():
        wanted = ours.eval()(input_ids=ids).logits
        torch.testing.assert_close(theirs(input_ids=ids).logits, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("save_as", ["merged", "adapter"])
@pytest.mark.parametrize("kind", KINDS)
def test_resume_is_bit_equal(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, kind: str, save_as: str
) -> None:
    body = without_head(tiny_checkpoint("bert"), tmp_path / "body")
    model, codec = adapted(body, kind, peft_save=save_as)
    train(model)
    (tmp_path / "saved").mkdir()
    save(model, codec, tmp_path / "saved", resumable=True)
    again, _ = adapted(body, kind, peft_save=save_as)
    load_for_resume(again, tmp_path / "saved")
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    train(model)
    train(again)
    assert torch.equal(logits(again), logits(model))


def test_resume_with_another_adapter_is_refused(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    model, codec = adapted(tiny_checkpoint("bert"))
    save(model, codec, tmp_path, resumable=True)
    for changes in ({"lora_rank": 4}, {"peft_targets": "query"}):
        other, _ = adapted(tiny_checkpoint("bert"), **changes)
        with pytest.raises(ValueError, match=r"another adapter.*--peft"):
            load_for_resume(other, tmp_path)
    (tmp_path / "trainable.safetensors").unlink()
    with pytest.raises(ValueError, match="of a run without --peft"):
        load_for_resume(model, tmp_path)


def test_targets_are_named_by_the_end_of_their_names(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    model, _ = adapted(tiny_checkpoint("bert"), peft_targets="query, attention.output.dense")
    layers = {name.split(".lora_")[0].split("layer.")[1] for name in trainable_state(model)}
    assert layers == {
        f"{number}.attention.{name}" for number in (0, 1) for name in ("self.query", "output.dense")
    }
    with pytest.raises(ValueError, match=r"--peft_targets: .*'quary'.* are dense, key, query, v"):
        adapted(tiny_checkpoint("bert"), peft_targets="query,quary")


def test_rank_and_alpha_reach_the_adapter(tiny_checkpoint: Callable[[str], Path]) -> None:
    model, _ = adapted(tiny_checkpoint("bert"), lora_rank=4, lora_alpha=12.0, lora_dropout=0.5)
    first = model.encoder.get_submodule("bert.encoder.layer.0.attention.self.query")
    assert first.get_submodule("lora_A.default").get_parameter("weight").shape == (4, 32)
    assert first.scaling == {"default": 3.0}
    assert first.get_submodule("lora_dropout.default").p == 0.5


def saved_config(encoder: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The config of an adapter that was saved in a folder: its file, and what it holds."""
    model, codec = adapted(encoder, peft_save="adapter")
    save(model, codec, folder)
    file = folder / "adapter_config.json"
    return file, json.loads(file.read_text())


def test_absent_encoder_of_an_adapter_is_told(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    file, config = saved_config(tiny_checkpoint("bert"), tmp_path)
    file.write_text(json.dumps({**config, "base_model_name_or_path": "/nowhere/encoder"}))
    with pytest.raises(ValueError, match=r"/nowhere/encoder, which is not there: .*base_model"):
        load_finetuned(str(tmp_path))
    file.write_text("{}")
    with pytest.raises(ValueError, match="does not name the encoder"):
        load_finetuned(str(tmp_path))
    with pytest.raises(ValueError, match="does not name the encoder"):
        adapted(tmp_path)


def test_adapter_that_does_not_fit_is_told(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    file, config = saved_config(tiny_checkpoint("bert"), tmp_path)
    changes: list[dict[str, Any]] = [{"r": 2}, {"target_modules": ["query"]}]
    for change in changes:
        file.write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match="the adapter does not fit its encoder") as caught:
            load_finetuned(str(tmp_path))
        assert "\n" not in str(caught.value)


def test_training_does_not_start_from_an_adapter(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    model, codec = adapted(tiny_checkpoint("bert"), peft_save="adapter")
    save(model, codec, tmp_path)
    with pytest.raises(ValueError, match=r"is an adapter and no whole model: start from"):
        adapted(tmp_path)


def test_missing_package_is_told(
    tiny_checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 's2s-ft\[peft\]'"):
        adapted(tiny_checkpoint("bert"))


def test_a_merged_checkpoint_needs_no_peft(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    model, codec = adapted(tiny_checkpoint("bert"))
    save(model, codec, tmp_path)
    code = (
        "import sys\nsys.modules['peft'] = None\n"
        "from s2s_ft.model.pretrained import load_finetuned\n"
        "load_finetuned(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
