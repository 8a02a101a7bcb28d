"""A trimmed model says the same of the text that it was trimmed to, and stays able to read all."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import AutoModel, AutoModelForMaskedLM

from s2s_ft.commands import decode_main
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.text import TextCodec
from s2s_ft.trim.__main__ import main
from tests.unit.text.tokenizers_on_disk import BERT_ROLES, SENTENCES, write
from tests.unit.trim.models_on_disk import FAMILIES, fine_tuned

COVERED = ["english", "german"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives a family's model; made once, not to be changed."""
    made: dict[str, Path] = {}

    def model(family: str) -> Path:
        if family not in made:
            made[family] = fine_tuned(tmp_path_factory.mktemp("whole") / family, family)
        return made[family]

    return model


def trim(whole: Path, folder: Path, *arguments: str) -> Path:
    corpus = folder / "corpus.jsonl"
    rows = [{"src": SENTENCES[name], "tgt": SENTENCES[name].split()[0]} for name in COVERED]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    output = folder / "trimmed"
    flags = ["--model_path", str(whole), "--output_dir", str(output), "--corpus", str(corpus)]
    assert main([*flags, *arguments]) == 0
    return output


def old_ids(whole: Path, trimmed: Path) -> list[int]:
    """The old id of each new one."""
    old, new = TextCodec.load(whole), TextCodec.load(trimmed)
    vocabulary = old.tokenizer.get_vocab()
    tokens = sorted(new.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    assert [token_id for _, token_id in tokens] == list(range(len(tokens)))
    ids = [vocabulary[token] for token, _ in tokens]
    assert ids == sorted(ids)
    return ids


def json_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("characters", ["all", "corpus"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_corpus_gives_the_same_tokens_and_logits(
    whole: Callable[[str], Path], family: str, characters: str, tmp_path: Path
) -> None:
    folder = trim(whole(family), tmp_path, "--keep_characters", characters)
    kept = old_ids(whole(family), folder)
    codecs = TextCodec.load(whole(family)), TextCodec.load(folder)
    encoders = [
        AutoModelForMaskedLM.from_pretrained(each).eval() for each in (whole(family), folder)
    ]
    assert encoders[1].config.vocab_size == len(kept) < len(codecs[0].tokenizer)
    for name in COVERED:
        old, new = (codec.encode([SENTENCES[name]])[0] for codec in codecs)
        assert codecs[0].tokens(old) == codecs[1].tokens(new)
        assert codecs[0].decode(old) == codecs[1].decode(new)
        with torch.no_grad():
            wide, narrow = (
                encoder(torch.tensor([ids])).logits
                for encoder, ids in zip(encoders, (old, new), strict=True)
            )
        torch.testing.assert_close(narrow, wide[..., kept], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_text_can_still_be_written(
    whole: Callable[[str], Path], family: str, tmp_path: Path
) -> None:
    old, new = TextCodec.load(whole(family)), TextCodec.load(trim(whole(family), tmp_path))
    for text in [*SENTENCES.values(), "drowned water", "größter wasser", "тест 天天 東 ไทย"]:
        before, after = old.encode([text])[0], new.encode([text])[0]
        assert before.count(old.tokenizer.unk_token_id) >= after.count(new.tokenizer.unk_token_id)
        if old.tokenizer.unk_token_id not in before:
            assert old.decode(before) == new.decode(after)


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_with_a_role_keeps_it(
    whole: Callable[[str], Path], family: str, tmp_path: Path
) -> None:
    folder = trim(whole(family), tmp_path, "--keep_characters", "corpus")
    kept = old_ids(whole(family), folder)
    old, new = TextCodec.load(whole(family)).special, TextCodec.load(folder).special
    for role in ("cls", "sep", "pad", "mask"):
        assert kept[getattr(new, role)] == getattr(old, role)
    for file in ("config.json", "generation_config.json"):
        before, after = json_of(whole(family) / file), json_of(folder / file)
        for name in before:
            if name.endswith("_token_id") and before[name] is not None:
                assert kept[after[name]] == before[name], name
            elif name not in ("vocab_size", "transformers_version"):
                assert after[name] == before[name], name
    added = [Tokenizer.from_file(str(folder / "tokenizer.json")).encode(x).ids for x in ("", "a")]
    assert all(0 <= each < len(kept) for ids in added for each in ids)
    load_finetuned(str(folder))  # without a complaint of the tokenizer or the weights


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "roberta"])
def test_greedy_outputs_are_the_same(
    whole: Callable[[str], Path], family: str, tmp_path: Path
) -> None:
    """Where the outputs' tokens stay, the likeliest of all is the likeliest of the rest."""

    def decode(model: Path, output: Path) -> list[dict[str, Any]]:
        rows = tmp_path / "in.jsonl"
        text = "".join(json.dumps({"src": SENTENCES[name]}) + "\n" for name in COVERED)
        rows.write_text(text, encoding="utf-8")
        flags = ["--model_path", str(model), "--input_file", str(rows), "--beam_size", "1"]
        flags += ["--output_file", str(output), "--output_format", "jsonl", "--output_tokens"]
        assert decode_main([*flags, "--max_tgt_length", "12", "--no_cuda"]) == 0
        return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]

    before = decode(whole(family), tmp_path / "before.jsonl")
    tokens = sorted(
        {t for row in before for each in row["hypotheses"] for t in each["token_strings"]}
    )
    (tmp_path / "outputs.txt").write_text("\n".join(tokens), encoding="utf-8")
    folder = trim(whole(family), tmp_path, "--keep_tokens", str(tmp_path / "outputs.txt"))
    after = decode(folder, tmp_path / "after.jsonl")
    for old, new in zip(before, after, strict=True):
        for key in ("text", "token_strings"):
            texts = [[each[key] for each in row["hypotheses"]] for row in (old, new)]
            assert texts[0] == texts[1]


def test_what_is_kept_can_be_chosen(whole: Callable[[str], Path], tmp_path: Path) -> None:
    model, sizes = whole("bert"), {}
    word = SENTENCES["russian"].split()[1]
    (tmp_path / "named.txt").write_text(f"天\n{word}\n", encoding="utf-8")
    for name, flags in {
        "all": [],
        "corpus": ["--keep_characters", "corpus"],
        "often": ["--keep_characters", "corpus", "--min_count", "2"],
        "named": ["--keep_characters", "corpus", "--keep_tokens", str(tmp_path / "named.txt")],
    }.items():
        (tmp_path / name).mkdir()
        codec = TextCodec.load(trim(model, tmp_path / name, *flags))
        sizes[name] = len(codec.tokenizer)
        assert (codec.tokenizer.unk_token_id in codec.encode(["天"])[0]) == (
            name in ("corpus", "often")
        )
        if name == "named":
            whole_codec = TextCodec.load(model)
            pieces = [each.tokens(each.encode([word])[0]) for each in (codec, whole_codec)]
            assert pieces[0] == pieces[1]
    assert sizes["often"] < sizes["corpus"] < sizes["named"] < sizes["all"]


def test_plain_text_and_several_files(whole: Callable[[str], Path], tmp_path: Path) -> None:
    for name in COVERED:
        (tmp_path / f"{name}.txt").write_text(SENTENCES[name] + "\n\n", encoding="utf-8")
    files = [str(tmp_path / f"{name}.txt") for name in COVERED]
    flags = ["--model_path", str(whole("bert")), "--output_dir", str(tmp_path / "o")]
    assert main([*flags, "--corpus", *files]) == 0
    (tmp_path / "rows").mkdir()
    same = trim(whole("bert"), tmp_path / "rows")
    assert (tmp_path / "o" / "tokenizer.json").read_bytes() == (
        same / "tokenizer.json"
    ).read_bytes()


def test_weights_keep_their_number_format(whole: Callable[[str], Path], tmp_path: Path) -> None:
    half = tmp_path / "half"
    half.mkdir()
    for file in whole("bert").iterdir():
        (half / file.name).write_bytes(file.read_bytes())
    weights = {name: x.bfloat16() for name, x in load_file(half / "model.safetensors").items()}
    save_file(weights, half / "model.safetensors", metadata={"format": "pt"})
    trimmed = trim(half, tmp_path)
    kept = old_ids(half, trimmed)
    for name, tensor in load_file(trimmed / "model.safetensors").items():
        rows = weights[name][kept] if len(weights[name]) != len(tensor) else weights[name]
        assert torch.equal(tensor, rows), name
    assert json_of(trimmed / "config.json")["dtype"] == "bfloat16"


def test_a_model_without_a_head_stays_one(whole: Callable[[str], Path], tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.mkdir()
    for file in whole("bert").iterdir():
        (body / file.name).write_bytes(file.read_bytes())
    AutoModel.from_pretrained(body, add_pooling_layer=False).save_pretrained(body)
    trimmed = trim(body, tmp_path)
    assert not [name for name in load_file(trimmed / "model.safetensors") if "cls." in name]


def test_figures_are_told(
    whole: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        trim(whole("bert"), tmp_path)
    for words in ("different ones", "texts of the corpus read as before", "parameters", "MB"):
        assert words in caplog.text


class TestFaults:
    def fault(self, *flags: str) -> str:
        with pytest.raises(ValueError, match="--") as caught:
            main(list(flags))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_corpora(self, whole: Callable[[str], Path], tmp_path: Path) -> None:
        model = ["--model_path", str(whole("bert")), "--output_dir", str(tmp_path / "o")]
        (tmp_path / "empty.txt").write_text("\n \n", encoding="utf-8")
        assert "holds no text" in self.fault(*model, "--corpus", str(tmp_path / "empty.txt"))
        with pytest.raises(ValueError, match=r"^--corpus .*nowhere\.txt: there is no such file"):
            main([*model, "--corpus", str(tmp_path / "nowhere.txt")])
        os.mkfifo(tmp_path / "pipe.txt")
        with pytest.raises(ValueError, match=r"--corpus .*pipe.txt: is a pipe or a device"):
            main([*model, "--corpus", str(tmp_path / "pipe.txt")])
        (tmp_path / "bytes.txt").write_bytes(b"ok\n\xff\n")
        with pytest.raises(ValueError, match=r"^--corpus .*bytes\.txt, line 2: not UTF-8"):
            main([*model, "--corpus", str(tmp_path / "bytes.txt")])
        assert not (tmp_path / "o").exists()
        assert not list(tmp_path.glob(".o.*"))

    def test_a_folder_that_is_no_checkpoint(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("a", encoding="utf-8")
        (tmp_path / "run" / "ckpt-6").mkdir(parents=True)
        (tmp_path / "run" / "ckpt-6" / "config.json").write_text("{}", encoding="utf-8")
        flags = ["--output_dir", str(tmp_path / "o"), "--corpus", str(tmp_path / "a.txt")]
        told = self.fault(*flags, "--model_path", str(tmp_path / "run"))
        assert "is a training folder" in told
        assert "tokenizer" not in told

    def test_output_is_never_written_over(
        self, whole: Callable[[str], Path], tmp_path: Path
    ) -> None:
        trimmed = trim(whole("bert"), tmp_path)
        before = {file.name: file.read_bytes() for file in trimmed.iterdir()}
        corpus = str(tmp_path / "corpus.jsonl")
        flags = ["--model_path", str(whole("bert")), "--output_dir", str(trimmed)]
        assert "is there already" in self.fault(*flags, "--corpus", corpus)
        assert before == {file.name: file.read_bytes() for file in trimmed.iterdir()}

    def test_a_kind_that_cannot_be_trimmed(
        self, whole: Callable[[str], Path], tmp_path: Path
    ) -> None:
        words = {**{token: i for i, token in enumerate(BERT_ROLES.values())}, "a": 5}
        folder = tmp_path / "word_level"
        write(folder, Tokenizer(models.WordLevel(words, unk_token="[UNK]")), "bert", BERT_ROLES)
        (tmp_path / "a.txt").write_text("a", encoding="utf-8")
        flags = ["--model_path", str(whole("bert")), "--tokenizer_name", str(folder)]
        flags += ["--output_dir", str(tmp_path / "o"), "--corpus", str(tmp_path / "a.txt")]
        assert "'WordLevel' cannot be trimmed" in self.fault(*flags)
