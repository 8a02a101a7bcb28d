"""Training with tokens of the user (`--additional_tokens`): saved, decoded, resumed, not mixed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.text import TextCodec
from tests.conftest import VOCABULARY
from tests.unit.train.runs import STEPS, Train, assert_same_checkpoint

SIZE = len(VOCABULARY)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.txt"
    path.write_text("<num>\npythons\nlinux\n", encoding="utf-8")  # linux is a token already
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "with_tokens.jsonl"
    rows = [{"src": f"a <num> pythons {word}", "tgt": f"{word} <num>"} for word in VOCABULARY[9:25]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_they_are_learnt_and_saved(run: Train, output_dir: Path, data: Path, tokens: Path) -> None:
    assert run(train_file=str(data), additional_tokens=str(tokens)) == 0
    folder = output_dir / f"ckpt-{STEPS}"
    codec, model = TextCodec.load(folder), load_finetuned(str(folder))
    assert model.encoder.config.vocab_size == len(codec.tokenizer) == SIZE + 2
    assert codec.encode(["a <num> Pythons"]) == [[*codec.encode(["a"])[0], SIZE, SIZE + 1]]
    assert codec.decode([SIZE, SIZE + 1]) == "<num> pythons"
    weights = load_file(folder / "model.safetensors")
    rows = weights["bert.embeddings.word_embeddings.weight"]
    pieces = codec.encode([["python", "##s"]])[0]
    start = rows[pieces].mean(dim=0)
    moved = (rows[SIZE + 1] - start).norm()
    assert 0 < moved < 0.2 * start.norm()  # it learnt, from there
    assert weights["cls.predictions.bias"].shape == (SIZE + 2,)
    assert torch.isfinite(rows).all()


def test_a_run_goes_on_with_them(run: Train, output_dir: Path, data: Path, tokens: Path) -> None:
    flags = {"train_file": str(data), "additional_tokens": str(tokens)}
    assert run(**flags, output_dir=str(output_dir / "at_once")) == 0
    assert run(**flags, save_steps=3) == 0
    (output_dir / f"ckpt-{STEPS}").rename(output_dir / "aside")
    assert run(**flags, save_steps=3) == 0
    for other in (output_dir / "aside", output_dir / "at_once" / f"ckpt-{STEPS}"):
        assert_same_checkpoint(output_dir / f"ckpt-{STEPS}", other)


@pytest.mark.parametrize("changed", ["<num>\npython\n", "pythons\n<num>\n", "<num>\n", None])
def test_a_run_does_not_go_on_with_others(
    run: Train, data: Path, tokens: Path, changed: str | None
) -> None:
    assert run(train_file=str(data), additional_tokens=str(tokens), num_training_steps=2) == 0
    flags = {}
    if changed is not None:
        tokens.write_text(changed, encoding="utf-8")
        flags["additional_tokens"] = str(tokens)
    with pytest.raises(ValueError, match="cannot resume") as fault:
        run(train_file=str(data), num_training_steps=4, **flags)
    assert "--additional_tokens" in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_fine_tuned_model_has_them_already(
    run: Train, output_dir: Path, data: Path, tokens: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = {"train_file": str(data), "additional_tokens": str(tokens), "num_training_steps": 2}
    assert run(**flags) == 0
    second = {"output_dir": str(output_dir / "second"), **flags}
    caplog.clear()
    assert run(**second, model_name_or_path=str(output_dir / "ckpt-2")) == 0
    assert "has 3 of the tokens already" in caplog.text
    weights = load_file(output_dir / "second" / "ckpt-2" / "model.safetensors")
    assert len(weights["bert.embeddings.word_embeddings.weight"]) == SIZE + 2


def test_a_missing_file(run: Train, data: Path) -> None:
    with pytest.raises(ValueError, match=r"--additional_tokens nowhere.txt: there is no such file"):
        run(train_file=str(data), additional_tokens="nowhere.txt")


def test_a_piece_of_a_word_is_refused_by_flag_and_file(
    run: Train, data: Path, tokens: Path
) -> None:
    tokens.write_text("##num\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^--additional_tokens .*tokens.txt: '##num' would be"):
        run(train_file=str(data), additional_tokens=str(tokens))
