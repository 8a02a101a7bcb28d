"""The codec over word pieces, byte-level BPE and sentence pieces, and the ways of loading one."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from s2s_ft.text import TextCodec, collapse_repeated_punctuation, join_word_pieces

BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
WORDS = ["hello", "Hello", "world", "walk", "##ing", "##s", ".", "!", ",", "the", "cafe"]
CORPUS = ["hello world this is a test", "some words , then a stop .", "日本語 naïve café"]
BERT_ROLES = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
ROBERTA_ROLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}


def save(folder: Path, tokenizer: Tokenizer, roles: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def word_piece(folder: Path, *, with_roles: bool = True) -> Path:
    vocabulary = {token: index for index, token in enumerate(BERT_SPECIALS + WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(BERT_SPECIALS)
    return save(folder, tokenizer, BERT_ROLES if with_roles else {})


def byte_level(folder: Path) -> Path:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=ROBERTA_SPECIALS, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return save(folder, tokenizer, ROBERTA_ROLES)


def sentence_piece(folder: Path) -> Path:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=80, special_tokens=ROBERTA_SPECIALS, unk_token="<unk>"
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return save(folder, tokenizer, ROBERTA_ROLES)


def vocabulary_only(folder: Path, config: dict[str, object] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(BERT_SPECIALS + WORDS) + "\n", encoding="utf-8")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


KINDS = [word_piece, byte_level, sentence_piece]


@pytest.fixture
def codec(tmp_path: Path) -> TextCodec:
    return TextCodec.load(word_piece(tmp_path / "word_piece"))


class TestSpecialIds:
    def test_bert_like(self, codec: TextCodec) -> None:
        special = codec.special
        assert (special.pad, special.cls, special.sep, special.mask) == (0, 2, 3, 4)
        assert special.vocab_size == len(BERT_SPECIALS + WORDS)

    @pytest.mark.parametrize("make", [byte_level, sentence_piece])
    def test_bos_and_eos_stand_in_for_cls_and_sep(
        self, make: Callable[[Path], Path], tmp_path: Path
    ) -> None:
        special = TextCodec.load(make(tmp_path)).special
        assert (special.cls, special.pad, special.sep, special.mask) == (0, 1, 2, 4)

    def test_vocab_size_is_the_models(self, codec: TextCodec) -> None:
        wider = codec.with_vocab_size(64)
        assert wider.special.vocab_size == 64
        assert wider.special.cls == codec.special.cls
        assert codec.special.vocab_size == 16
        assert wider.fingerprint == codec.fingerprint

    def test_a_model_too_small_for_the_tokenizer(self, codec: TextCodec) -> None:
        with pytest.raises(ValueError, match=r"ids up to 15 .* only 15 output rows.*--tokenizer"):
            codec.with_vocab_size(15)

    def test_a_missing_token_is_named(self, tmp_path: Path) -> None:
        tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "[CLS]": 1, "a": 2}, unk_token="[UNK]"))
        folder = save(tmp_path, tokenizer, {"unk_token": "[UNK]", "cls_token": "[CLS]"})
        with pytest.raises(ValueError, match="no sep and no pad and no mask token") as fault:
            TextCodec.load(folder)
        assert str(folder) in str(fault.value)


class TestEncode:
    def test_strings_are_tokenised_without_special_tokens(self, codec: TextCodec) -> None:
        ids = codec.encode(["Hello world.", ""])
        assert [codec.tokens(row) for row in ids] == [["hello", "world", "."], []]

    def test_lists_are_only_looked_up(self, codec: TextCodec) -> None:
        ids = codec.encode([["Hello", "##ing", "nowhere"], "walking", [], ["[SEP]"]])
        assert [codec.tokens(row) for row in ids] == [
            ["Hello", "##ing", "[UNK]"],
            ["walk", "##ing"],
            [],
            ["[SEP]"],
        ]

    def test_an_unknown_token_without_an_unknown_token(self, tmp_path: Path) -> None:
        tokenizer = Tokenizer(
            models.BPE({x: i for i, x in enumerate(["a", *ROBERTA_SPECIALS])}, [])
        )
        roles = {role: token for role, token in ROBERTA_ROLES.items() if role != "unk_token"}
        codec = TextCodec.load(save(tmp_path, tokenizer, roles))
        codec.tokenizer.unk_token = None
        codec = TextCodec(codec.tokenizer)
        assert codec.encode([["a"]]) == [[0]]
        with pytest.raises(ValueError, match="token 'b' is not in the vocabulary"):
            codec.encode([["b"]])

    def test_truncation_and_padding_of_the_file_are_off(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        folder = word_piece(tmp_path)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(4)
        tokenizer.enable_padding(length=6)
        tokenizer.save(str(folder / "tokenizer.json"))
        codec = TextCodec.load(folder)
        capfd.readouterr()
        lengths = [len(row) for row in codec.encode(["hello", "world " * 1000])]
        assert lengths == [1, 1000]
        assert not caplog.records
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize("make", KINDS)
    def test_nothing_gives_nothing(self, make: Callable[[Path], Path], tmp_path: Path) -> None:
        codec = TextCodec.load(make(tmp_path))
        assert codec.encode([]) == []
        assert codec.encode(["", []]) == [[], []]
        assert codec.decode([]) == ""


class TestDecode:
    def test_pieces_are_joined(self, codec: TextCodec) -> None:
        assert codec.decode(codec.encode(["walking walks."])[0]) == "walking walks ."

    @pytest.mark.parametrize("end", ["sep", "pad"])
    def test_cut_at_the_first_end(self, codec: TextCodec, end: str) -> None:
        hello, world = codec.encode(["hello world"])[0]
        ids = [hello, getattr(codec.special, end), world, codec.special.sep]
        assert codec.decode(ids) == "hello"

    @pytest.mark.parametrize("make", [byte_level, sentence_piece])
    @pytest.mark.parametrize("text", ["hello world this is a test", "some test , this ."])
    def test_other_tokenizers_give_the_text_back(
        self, make: Callable[[Path], Path], text: str, tmp_path: Path
    ) -> None:
        codec = TextCodec.load(make(tmp_path))
        assert codec.decode([*codec.encode([text])[0], codec.special.sep]) == text

    @pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
    def test_a_line_break_is_marked(self, line_break: str, tmp_path: Path) -> None:
        codec = TextCodec.load(byte_level(tmp_path))
        text = f" 日本語{line_break}café "
        assert codec.decode(codec.encode([text])[0]) == "日本語 [X_SEP] café"

    @pytest.mark.parametrize("make", KINDS)
    def test_ids_beyond_the_vocabulary_do_no_harm(
        self, make: Callable[[Path], Path], tmp_path: Path
    ) -> None:
        codec = TextCodec.load(make(tmp_path)).with_vocab_size(1000)
        hello = codec.encode(["hello"])[0]
        assert codec.tokens([999]) == [codec.tokenizer.unk_token]
        assert codec.decode([*hello, 999]).startswith("hello")


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
        with pytest.raises(ValueError, match="--tokenizer_name / --model_name_or_path") as fault:
            TextCodec.load(name)
        message = str(fault.value)
        assert message.startswith(f"{name}: ")
        assert "\n" not in message
        return message

    def test_missing_folder(self, tmp_path: Path) -> None:
        assert "no such folder" in self.message(tmp_path / "nowhere")

    def test_relative_missing_folder(self) -> None:
        assert "no such folder" in self.message("./nowhere/at/all")

    def test_empty_folder(self, tmp_path: Path) -> None:
        assert "no tokenizer" in self.message(tmp_path)

    @pytest.mark.parametrize("model_type", ["bert", "roberta"])
    def test_a_model_without_its_vocabulary(self, model_type: str, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}), "utf-8")
        assert "vocabulary files are missing" in self.message(tmp_path)

    def test_damaged_tokenizer_file(self, tmp_path: Path) -> None:
        (word_piece(tmp_path) / "tokenizer.json").write_text("{", encoding="utf-8")
        self.message(tmp_path)

    def test_hub_id_out_of_reach(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert "no tokenizer" in self.message("nobody/no-such-model")


class TestWords:
    def test_join(self) -> None:
        assert join_word_pieces(["walk", "##ing", "slow", "##ly", "."]) == [
            "walking",
            "slowly",
            ".",
        ]

    def test_a_leading_piece_keeps_its_mark(self) -> None:
        assert join_word_pieces(["##a", "##b", "c"]) == ["##ab", "c"]

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("ok ! ! ! !", "ok !"),
            (". . . . .", ". ."),
            (". . . .", ". . . ."),
            ("a b ? ? ? ? ? ? ?", "a b ?"),
            ("1 1 1 1 1", "1 1 1 1 1"),
            ("no no no no no", "no no no no no"),
            ("a ! ! ! ! b", "a ! ! ! ! b"),
            ("", ""),
        ],
    )
    def test_collapse(self, text: str, wanted: str) -> None:
        words = text.split()
        assert collapse_repeated_punctuation(words) == wanted.split()
        assert words == text.split()
