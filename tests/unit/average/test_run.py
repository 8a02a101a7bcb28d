"""The mean of checkpoints: exact, whole, and only of what belongs together."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from s2s_ft.average.__main__ import main
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.storage.checkpoint_record import FORMAT, RECORD, write_record
from s2s_ft.text import TextCodec

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def checkpoint(tiny_checkpoint: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a checkpoint with weights of its own beside a run's other files."""

    def make(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for file in tiny_checkpoint("bert").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        drawn = torch.Generator().manual_seed(seed)
        weights = {
            name: (x + torch.randn(x.shape, generator=drawn)).to(dtype)
            for name, x in load_file(folder / "model.safetensors").items()
        }
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        for extra in ("optimizer.safetensors", "README.md"):
            (folder / extra).write_text("{}", encoding="utf-8")
        (folder / "generation_config.json").write_text('{"eos_token_id": 3}', encoding="utf-8")
        return folder

    return make


def sealed(folder: Path) -> Path:
    """The same checkpoint with a record of its files, as training writes it."""
    (folder / RECORD).unlink(missing_ok=True)
    write_record(folder, {"format": FORMAT, "step": 1})
    return folder


def damage(folder: Path) -> None:
    """Turn one bit of the weights."""
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def weights_of(folder: Path) -> Tensors:
    weights: Tensors = load_file(folder / "model.safetensors")
    return weights


def mean(output: Path, *folders: Path, last: int | None = None) -> Path:
    flags = [] if last is None else ["--last", str(last)]
    paths = [str(folder) for folder in folders]
    assert main(["--model_path", *paths, "--output_dir", str(output), *flags]) == 0
    return output


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_mean_of_one_is_that_one(
    checkpoint: Callable[..., Path], dtype: torch.dtype, tmp_path: Path
) -> None:
    folder = checkpoint("a", 1, dtype)
    weights = weights_of(folder)
    some = next(name for name in weights if name.endswith("dense.bias"))
    weights[some][0] = -0.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    sealed(folder)
    found = weights_of(mean(tmp_path / "o", folder))
    assert found.keys() == weights.keys()
    for name, tensor in weights.items():
        bits = torch.int32 if dtype == torch.float32 else torch.int16
        assert torch.equal(found[name].view(bits), tensor.view(bits)), name


def test_sums_run_in_float64(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folders = [checkpoint(f"c{seed}", seed) for seed in range(3)]
    found = weights_of(mean(tmp_path / "o", *folders))
    for name, tensor in found.items():
        wanted = torch.stack([weights_of(each)[name].double() for each in folders]).mean(dim=0)
        torch.testing.assert_close(tensor, wanted.float(), rtol=0, atol=1e-7)
        assert tensor.dtype == torch.float32


def test_half_precision_is_not_lost_on_the_way(
    checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folders = [checkpoint(f"c{seed}", seed, torch.bfloat16) for seed in range(4)]
    found = weights_of(mean(tmp_path / "o", *folders))
    for name, tensor in found.items():
        total = sum(weights_of(each)[name].double() for each in folders)
        assert torch.equal(tensor, (total / 4).bfloat16()), name


def test_the_newest_of_a_run(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    for step, seed in ((6, 1), (12, 2), (100, 3)):
        checkpoint(f"run/ckpt-{step}", seed)
    checkpoint("run/best", 9)
    found = weights_of(mean(tmp_path / "o", tmp_path / "run", last=2))
    wanted = weights_of(
        mean(tmp_path / "p", tmp_path / "run" / "ckpt-12", tmp_path / "run" / "ckpt-100")
    )
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_damaged_checkpoints_of_a_run_are_passed_over(
    checkpoint: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (6, 12, 18):
        sealed(checkpoint(f"run/ckpt-{step}", step))
    damage(tmp_path / "run" / "ckpt-18")
    found = weights_of(mean(tmp_path / "o", tmp_path / "run", last=2))
    assert "passing over the damaged checkpoint" in caplog.text
    assert "ckpt-18: model.safetensors has not the recorded checksum" in caplog.text
    wanted = weights_of(mean(tmp_path / "p", tmp_path / "run/ckpt-6", tmp_path / "run/ckpt-12"))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_what_it_gives_is_a_checkpoint(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = mean(tmp_path / "o", sealed(checkpoint("a", 1)), sealed(checkpoint("b", 2)))
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors", "generation_config.json"} <= names
    assert not names & {"optimizer.safetensors", "training_state.json", "README.md"}
    assert TextCodec.load(folder).fingerprint == TextCodec.load(tmp_path / "a").fingerprint
    load_finetuned(str(folder))
    again = mean(tmp_path / "again", folder)
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


class TestFaults:
    def fault(self, output: Path, *folders: Path, flags: tuple[str, ...] = ()) -> str:
        paths = [str(folder) for folder in folders]
        with pytest.raises(ValueError, match=r".") as caught:
            main(["--model_path", *paths, "--output_dir", str(output), *flags])
        assert "\n" not in str(caught.value)
        assert not list(output.parent.glob(f".{output.name}.*"))
        return str(caught.value)

    def test_folders(self, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
        run, out = checkpoint("run/ckpt-6").parent, tmp_path / "o"
        assert "no such folder" in self.fault(out, tmp_path / "nowhere")
        assert "of a run" in self.fault(out, run)
        assert "holds 1 checkpoints" in self.fault(out, run, flags=("--last", "2"))
        assert "needs one --model_path" in self.fault(out, run, run, flags=("--last", "1"))
        (run / "ckpt-6" / "model.safetensors").unlink()
        assert "has no model.safetensors" in self.fault(out, run / "ckpt-6")
        (run / "ckpt-6" / "adapter_config.json").write_text("{}", encoding="utf-8")
        assert "--peft_save merged" in self.fault(out, run / "ckpt-6")
        assert not out.exists()

    def test_a_damaged_checkpoint(self, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
        folder = sealed(checkpoint("run/ckpt-6"))
        damage(folder)
        assert "ckpt-6 is damaged: model.safe" in self.fault(tmp_path / "o", folder)
        assert "holds 0 checkpoints" in self.fault(
            tmp_path / "o", folder.parent, flags=("--last", "1")
        )

    def test_an_output_that_is_there(self, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
        folder = checkpoint("a")
        before = (folder / "model.safetensors").read_bytes()
        assert "is there already" in self.fault(folder, folder)
        assert (folder / "model.safetensors").read_bytes() == before

    def test_another_architecture(self, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
        a, b = checkpoint("a"), checkpoint("b")
        config = json.loads((b / "config.json").read_text(encoding="utf-8"))
        (b / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}), "utf-8")
        assert "hidden_act in config.json is relu, not gelu" in self.fault(tmp_path / "o", a, b)

    def test_another_tokenizer(self, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
        a, b = checkpoint("a"), checkpoint("b")
        text = (b / "tokenizer.json").read_text(encoding="utf-8")
        (b / "tokenizer.json").write_text(text.replace('"debian"', '"ubuntu"'), encoding="utf-8")
        assert "another tokenizer" in self.fault(tmp_path / "o", a, b)

    def test_other_weights(self, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
        a, b = checkpoint("a"), checkpoint("b")
        weights = weights_of(b)
        name = sorted(weights)[0]
        del weights[name]
        save_file(weights, b / "model.safetensors")
        assert f"1 differ in name or shape, {name} first" in self.fault(tmp_path / "o", a, b)

    def test_weights_that_are_no_numbers(
        self, checkpoint: Callable[..., Path], tmp_path: Path
    ) -> None:
        a, b = checkpoint("a"), checkpoint("b")
        weights = weights_of(b)
        next(iter(weights.values())).view(-1)[0] = float("nan")
        save_file(weights, b / "model.safetensors")
        assert "not finite" in self.fault(tmp_path / "o", a, b)

    def test_a_torn_file(self, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
        a = checkpoint("a")
        content = (a / "model.safetensors").read_bytes()
        (a / "model.safetensors").write_bytes(content[: len(content) // 2])
        assert "damaged" in self.fault(tmp_path / "o", a)
