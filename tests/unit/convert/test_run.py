"""The command itself: what it says and writes, where it finds things, and what it is told."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from s2s_ft.convert.__main__ import main
from s2s_ft.model.pretrained import load_finetuned, load_for_training
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.formats.catalogue import FORMATS, Format

BY_NAME = {form.name: form for form in FORMATS}


def format_named(name: str) -> Format:
    return BY_NAME[name]


def convert(folder: Path, name: str, *flags: str, path: Path | None = None) -> Path:
    """Write a format's checkpoint and convert it; returns the new folder."""
    form = format_named(name)
    source = form.write(folder)
    arguments = ["--model_path", str(path or source), "--output_dir", str(folder / "out")]
    assert main([*arguments, *form.flags(folder), *flags]) == 0
    return folder / "out"


def block(folder: Path) -> dict[str, object]:
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    ours: dict[str, object] = content["s2s_ft"]
    return ours


def report(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(
        (folder / "convert_report.json").read_text(encoding="utf-8")
    )
    return content


def test_the_folder_is_whole(tmp_path: Path) -> None:
    output = convert(tmp_path, "UniLM v2")
    names = {path.name for path in output.iterdir()}
    assert {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json"} <= names
    assert not list(tmp_path.glob(".out.*"))
    assert AutoConfig.from_pretrained(output).model_type == "bert"
    assert block(output)["source_type_id"] == 4
    assert block(output)["relative_position_buckets"] == 32
    assert "relative_position_bias.weight" in load_file(output / "model.safetensors")


def test_every_key_is_told_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(tmp_path, "UniLM v2", "--list_keys")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("unilm's own files, now BertForMaskedLM")
    start = "bert.encoder.layer.1.attention.self"
    assert (
        f"mapped {start}.qkv_linear.weight [96, 32] -> {start}.query.weight, {start}.key.weight, "
        f"{start}.value.weight (cut into three)" in lines
    )
    assert any(line.startswith(f"initialised {start}.key.bias [32] (zeros") for line in lines)
    accounted = [line.split()[1] for line in lines[1:]]
    assert len(accounted) == len(set(accounted))


def test_a_summary_is_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(tmp_path, "BERT")
    out = capsys.readouterr().out
    assert "a pretrained encoder, now BertForMaskedLM" in out
    assert "bert.pooler.dense.bias, bert.pooler.dense.weight: a sentence's vector" in out
    assert "cls.seq_relationship.bias, cls.seq_relationship.weight: the head of next-sen" in out


def test_weights_can_be_named_themselves(tmp_path: Path) -> None:
    form = format_named("UniLM v1")
    source = form.write(tmp_path)
    arguments = ["--output_dir", str(tmp_path / "out"), "--model_path"]
    assert main([*arguments, str(source / "unilm1-base-cased.bin")]) == 0
    assert block(tmp_path / "out")["target_type_id"] == 5


def test_configs_and_vocabularies_can_lie_elsewhere(tmp_path: Path) -> None:
    source = format_named("UniLM v1").write(tmp_path)
    (tmp_path / "else").mkdir()
    for file in ("unilm1-base-cased-config.json", "unilm1-base-cased-vocab.txt"):
        (source / file).rename(tmp_path / "else" / file)
    arguments = ["--model_path", str(source), "--output_dir", str(tmp_path / "out")]
    config = tmp_path / "else" / "unilm1-base-cased-config.json"
    vocabulary = tmp_path / "else" / "unilm1-base-cased-vocab.txt"
    flags = ["--config_path", str(config), "--tokenizer_name", str(vocabulary)]
    assert main([*arguments, *flags]) == 0


def test_what_was_not_fine_tuned_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = convert(tmp_path, "mBERT")
    assert block(output)["pretrained_only"] is True
    load_finetuned(str(output))
    assert "Expect word salad" in caplog.text


def test_the_originals_run_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Method, lengths and family of `train_opt.json`; then decoding does not warn."""
    output = convert(tmp_path, "fine-tuned by the original: RoBERTa")
    assert "pretrained_only" not in block(output)
    assert block(output)["method"] == "causal"
    assert block(output)["max_source_length"] == 40
    assert block(output)["max_target_length"] == 12
    model = load_finetuned(str(output))
    assert model.encoder.config.model_type == "roberta"
    assert model.encoder.config.pad_token_id == 1
    assert "Expect word salad" not in caplog.text


def test_flags_know_better(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without `train_opt.json` the method of v0 and v1 is in no file, and the user is asked."""
    form = format_named("fine-tuned by the original: RoBERTa")
    source = form.write(tmp_path)
    (source / "train_opt.json").unlink()
    arguments = ["--model_path", str(source), *form.flags(tmp_path)]
    assert main([*arguments, "--output_dir", str(tmp_path / "out")]) == 0
    assert "does not tell how it was fine-tuned: taking pseudo_mask; give" in caplog.text
    flags = ["--fine_tuning_method", "causal", "--family", "xlm-roberta"]
    lengths = ["--max_source_seq_length", "30", "--max_target_seq_length", "9"]
    assert main([*arguments, *flags, *lengths, "--output_dir", str(tmp_path / "other")]) == 0
    known = block(tmp_path / "other")
    assert (known["method"], known["max_source_length"], known["max_target_length"]) == (
        "causal",
        30,
        9,
    )
    assert AutoConfig.from_pretrained(tmp_path / "other").model_type == "xlm-roberta"


def test_the_originals_tokenizer_is_found_through_its_options(tmp_path: Path) -> None:
    form = format_named("fine-tuned by the original: BERT")
    source = form.write(tmp_path)
    options = json.loads((source / "train_opt.json").read_text(encoding="utf-8"))
    options["model_name_or_path"] = str(tmp_path / "tokenizer")
    (source / "train_opt.json").write_text(json.dumps(options), encoding="utf-8")
    arguments = ["--model_path", str(source), "--output_dir", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert report(tmp_path / "out")["tokenizer"] == str(tmp_path / "tokenizer")


def test_padding_is_the_tokenizers(tmp_path: Path) -> None:
    """XLM-R's tokens on BERT's body: `<s>` is id 0 and has to learn, id 1 is padding."""
    output = convert(tmp_path, "Multilingual MiniLM")
    assert AutoConfig.from_pretrained(output).pad_token_id == 1
    options = ModelOptions(model_name_or_path=str(output))
    codec = TextCodec.load(output)
    model = load_for_training(options, codec, max_source_length=20, max_target_length=10)
    words = model.encoder.get_input_embeddings()
    assert isinstance(words, torch.nn.Embedding)
    assert words.padding_idx == 1
    words(torch.tensor([[0, 5]])).sum().backward()
    assert words.weight.grad is not None
    assert words.weight.grad[0].abs().sum() > 0


def test_hub_names_are_read_from_the_cache(tmp_path: Path) -> None:
    """A hub id whose files the client has fetched before; weights in shards, no network."""
    source = format_named("XLM-R").write(tmp_path)
    repository = tmp_path / "hub" / "models--someone--xlmr"
    revision = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision, encoding="utf-8")
    shutil.copytree(source, repository / "snapshots" / revision)
    arguments = ["--model_path", "someone/xlmr", "--cache_dir", str(tmp_path / "hub")]
    assert main([*arguments, "--output_dir", str(tmp_path / "out")]) == 0
    direct = load_finetuned("someone/xlmr", cache_dir=str(tmp_path / "hub"))
    local = load_finetuned(str(tmp_path / "out"))
    for name, tensor in local.state_dict().items():
        assert torch.equal(tensor, direct.state_dict()[name]), name


def test_an_unreachable_hub_name_is_one_line(tmp_path: Path) -> None:
    arguments = ["--model_path", "someone/nothing", "--cache_dir", str(tmp_path / "hub")]
    with pytest.raises(ValueError, match=r"someone/nothing: no usable config \(") as caught:
        main([*arguments, "--output_dir", str(tmp_path / "out")])
    assert "\n" not in str(caught.value)


def test_the_command_in_a_process_of_its_own(tmp_path: Path) -> None:
    source = format_named("ERNIE").write(tmp_path)
    command = [sys.executable, "-m", "s2s_ft.convert", "--model_path", str(source)]
    command += ["--output_dir", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "now ErnieForMaskedLM" in done.stdout
    assert "Traceback" not in done.stderr


def test_help_loads_no_torch() -> None:
    code = (
        "import sys\nfrom s2s_ft.convert.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_fresh_head_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        output = convert(tmp_path, "ELECTRA discriminator")
    assert "has no masked-LM head: it gets a fresh one" in caplog.text
    entries = report(output)["initialised"]
    assert isinstance(entries, list)
    hows = {entry["name"]: entry["why"] for entry in entries}
    assert hows["generator_predictions.dense.weight"] == "a fresh head: changes as little as it can"
    assert hows["generator_predictions.LayerNorm.weight"] == "a fresh head: ones"
