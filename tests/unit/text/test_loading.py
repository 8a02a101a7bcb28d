"""Tokenizers from every kind of folder, and what is said of faulty ones."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from s2s_ft.text import TextCodec, loading
from tests.unit.text.small_tokenizers import (
    KINDS,
    byte_level,
    sentence_piece,
    vocabulary_only,
    word_piece,
)


class TestLoad:
    @pytest.mark.parametrize(
        "config",
        [None, {"model_type": "bert"}, {"model_type": "minilm"}, {"model_type": "unilm"}],
        ids=["none", "bert", "minilm", "unilm"],
    )
    @pytest.mark.parametrize(
        ("lower", "word"), [(None, "hello"), (True, "hello"), (False, "Hello")]
    )
    def test_a_bare_vocabulary_is_read_as_word_pieces(
        self, config: dict[str, object] | None, lower: bool | None, word: str, tmp_path: Path
    ) -> None:
        codec = TextCodec.load(vocabulary_only(tmp_path, config), do_lower_case=lower)
        assert codec.tokens(codec.encode(["Hello"])[0]) == [word]
        assert codec.special.mask == 4

    def test_a_bare_vocabulary_with_its_casing_beside_it(self, tmp_path: Path) -> None:
        folder = vocabulary_only(tmp_path)
        (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}', encoding="utf-8")
        codec = TextCodec.load(folder)
        assert codec.tokens(codec.encode(["Hello"])[0]) == ["Hello"]

    def test_casing_overrides_a_tokenizer_file(self, tmp_path: Path) -> None:
        codec = TextCodec.load(word_piece(tmp_path), do_lower_case=False)
        assert codec.tokens(codec.encode(["Hello hello"])[0]) == ["Hello", "hello"]

    def test_casing_of_another_kind_of_tokenizer_stays(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = byte_level(tmp_path)
        with caplog.at_level(logging.WARNING):
            codec = TextCodec.load(folder, do_lower_case=True)
        assert "--do_lower_case has no effect" in caplog.text
        assert codec.decode(codec.encode(["Hello"])[0]) == "Hello"

    def test_a_tokenizer_file_alone_is_enough(self, tmp_path: Path) -> None:
        folder = word_piece(tmp_path, with_roles=False)
        (folder / "tokenizer_config.json").unlink()
        codec = TextCodec.load(folder)
        assert (codec.special.cls, codec.special.sep, codec.special.mask) == (2, 3, 4)
        assert codec.encode([["nowhere"]]) == [[1]]

    @pytest.mark.parametrize("make", KINDS)
    def test_where_every_role_is_given_no_words_are_looked_at(
        self, make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tokenizer = TextCodec.load(make(tmp_path)).tokenizer
        monkeypatch.setattr(tokenizer, "get_vocab", None)
        loading._adopt_conventional_names(tokenizer)

    def test_vocabulary_and_merges(self, tmp_path: Path) -> None:
        trained = Tokenizer.from_file(str(byte_level(tmp_path / "trained") / "tokenizer.json"))
        folder = tmp_path / "files"
        folder.mkdir()
        trained.model.save(str(folder))
        (folder / "config.json").write_text('{"model_type": "roberta"}', encoding="utf-8")
        codec = TextCodec.load(folder)
        text = "hello, naïve 日本"
        assert codec.encode([text]) == [trained.encode(text, add_special_tokens=False).ids]
        assert codec.decode(codec.encode([text])[0]) == text

    @pytest.mark.parametrize("make", [*KINDS, vocabulary_only])
    @pytest.mark.parametrize("lower", [None, True, False])
    def test_saved_and_loaded_is_the_same(
        self, make: Callable[[Path], Path], lower: bool | None, tmp_path: Path
    ) -> None:
        codec = TextCodec.load(make(tmp_path / "first"), do_lower_case=lower)
        codec.save(tmp_path / "second")
        again = TextCodec.load(tmp_path / "second")
        assert again.fingerprint == codec.fingerprint
        assert again.special == codec.special
        assert again.encode(["Hello world"]) == codec.encode(["Hello world"])

    def test_fingerprints_tell_tokenizers_apart(self, tmp_path: Path) -> None:
        loaded = [
            TextCodec.load(word_piece(tmp_path / "a")),
            TextCodec.load(word_piece(tmp_path / "a"), do_lower_case=False),
            TextCodec.load(byte_level(tmp_path / "b")),
            TextCodec.load(sentence_piece(tmp_path / "c")),
        ]
        assert len({codec.fingerprint for codec in loaded}) == len(loaded)
        assert TextCodec.load(word_piece(tmp_path / "d")).fingerprint == loaded[0].fingerprint


class TestLoadFaults:
    def message(self, name: str | Path) -> str:
        with pytest.raises(ValueError, match=r"with --tokenizer_name$") as fault:
            TextCodec.load(name)
        message = str(fault.value)
        assert message.startswith(f"{name}: ")
        assert "\n" not in message
        return message

    def test_the_flag_at_fault_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"^--tokenizer_name nowhere: ") as fault:
            TextCodec.load("nowhere", flag="--tokenizer_name")
        assert "be reached" in str(fault.value)[-10:]
        with pytest.raises(ValueError, match=r"^--model_path .*, here or with --tokenizer_name$"):
            TextCodec.load(tmp_path, flag="--model_path")

    def test_missing_folder(self, tmp_path: Path) -> None:
        assert "no such folder" in self.message(tmp_path / "nowhere")

    def test_relative_missing_folder(self) -> None:
        assert "no such folder" in self.message("./nowhere/at/all")
        assert "no such folder" in self.message("outputs/first/ckpt-1")

    def test_empty_folder(self, tmp_path: Path) -> None:
        assert "no tokenizer" in self.message(tmp_path)

    @pytest.mark.parametrize("model_type", ["bert", "roberta"])
    def test_a_model_without_its_vocabulary(self, model_type: str, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}), "utf-8")
        assert "vocabulary files are missing" in self.message(tmp_path)

    def test_damaged_tokenizer_file(self, tmp_path: Path) -> None:
        (word_piece(tmp_path) / "tokenizer.json").write_text("{", encoding="utf-8")
        self.message(tmp_path)

    @pytest.mark.parametrize("name", ["", "unilm1-base-cased.bin"])
    def test_files_as_unilm_was_released(self, name: str, tmp_path: Path) -> None:
        for ending in (".bin", "-config.json", "-vocab.txt"):
            (tmp_path / f"unilm1-base-cased{ending}").write_text("{}", encoding="utf-8")
        weights = tmp_path / "unilm1-base-cased.bin"
        with pytest.raises(ValueError, match="these are UniLM's files") as fault:
            TextCodec.load(tmp_path / name, flag="--model_name_or_path")
        assert str(fault.value).startswith(f"--model_name_or_path {tmp_path / name}: ")
        wanted = f"python -m s2s_ft.convert --model_path {weights} --output_dir FOLDER"
        assert wanted in str(fault.value)

    def test_hub_id_out_of_reach(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert "no tokenizer" in self.message("nobody/no-such-model")


def test_a_damaged_tokenizer_file_beside_a_vocabulary(tmp_path: Path) -> None:
    folder = vocabulary_only(tmp_path, {"model_type": "bert"})
    (folder / "tokenizer.json").write_text('{"version": "1.0", ', encoding="utf-8")
    with pytest.raises(ValueError, match="no tokenizer") as caught:
        TextCodec.load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
