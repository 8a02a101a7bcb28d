"""Text to ids and back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from s2s_ft.text import TextCodec, collapse_repeated_punctuation, join_word_pieces
from tests.unit.text.small_tokenizers import (
    BERT_SPECIALS,
    KINDS,
    ROBERTA_ROLES,
    ROBERTA_SPECIALS,
    WORDS,
    byte_level,
    save,
    sentence_piece,
    word_piece,
)


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

    def test_another_vocab_size_is_no_reason_to_read_the_tokenizer_again(
        self, codec: TextCodec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a quarter of a million words that takes most of a second."""
        monkeypatch.setattr(codec.tokenizer, "get_vocab", None)
        wider = codec.with_vocab_size(64)
        assert wider.encode(["hello", ["world"]]) == codec.encode(["hello", ["world"]])

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


def test_half_a_character_is_refused_and_shown(codec: TextCodec) -> None:
    with pytest.raises(ValueError, match=r"'a .ud83d' holds half a character ") as caught:
        codec.encode(["whole 😀", "a \ud83d", "\udcff"])
    assert "\n" not in str(caught.value)
    str(caught.value).encode("utf-8")
