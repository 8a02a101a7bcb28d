"""Words as they are given, and the token sequences that write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from s2s_ft.decode.rules.words import forbidden_sequences, holds, read_words, wanted_phrases
from s2s_ft.text import TextCodec, WordMarks

ROLES = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
SPECIAL = [*ROLES.values(), "<mask>"]
CORPUS = ["the cat sat on the mat"] * 9


def make_codec(tokenizer: Tokenizer) -> TextCodec:
    return TextCodec(
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="<mask>", **ROLES)
    )


@pytest.fixture(scope="module")
def byte_level() -> TextCodec:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return make_codec(tokenizer)


@pytest.fixture(scope="module")
def sentence_piece() -> TextCodec:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return make_codec(tokenizer)


@pytest.fixture
def word_piece(tiny_tokenizer_folder: Path) -> TextCodec:
    return TextCodec.load(tiny_tokenizer_folder)


def test_words_from_the_command_line_or_a_file(tmp_path: Path) -> None:
    assert read_words(None, "bad_words") == []
    assert read_words("cat", "bad_words") == ["cat"]
    assert read_words("cat| black dog |%", "bad_words") == ["cat", "black dog", "%"]
    path = tmp_path / "words.txt"
    path.write_text("\ufeffcat\n\n  black dog\n|\n", encoding="utf-8")
    assert read_words(str(path), "bad_words") == ["cat", "black dog", "|"]


def test_words_from_a_pipe() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        stream.write("cat\nblack dog\n")
    try:
        assert read_words(f"/dev/fd/{reader}", "bad_words") == ["cat", "black dog"]
    finally:
        os.close(reader)


def test_the_name_of_a_folder_is_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cat").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_words("cat", "bad_words") == ["cat"]


def test_bad_lists_of_words_are_refused(tmp_path: Path) -> None:
    for value in ("a||b", "|", "a|"):
        with pytest.raises(ValueError, match=r"--force_words .*empty word"):
            read_words(value, "force_words")
    path = tmp_path / "words.txt"
    path.write_text("\n \n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"--bad_words: .*words\.txt holds no words"):
        read_words(str(path), "bad_words")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"--bad_words: .*UTF-8"):
        read_words(str(path), "bad_words")


def test_a_byte_level_word_has_two_forms(byte_level: TextCodec) -> None:
    sequences = forbidden_sequences(["cat"], byte_level)
    assert [byte_level.tokenizer.decode(ids) for ids in sequences] == ["cat", " cat"]
    assert wanted_phrases(["cat"], byte_level) == (sequences[1],)


@pytest.mark.parametrize("given", ["cat ", " cat", "cat\n", "\tcat\r\n"])
def test_what_stands_around_a_word_is_no_part_of_it(byte_level: TextCodec, given: str) -> None:
    assert forbidden_sequences([given], byte_level) == forbidden_sequences(["cat"], byte_level)
    assert wanted_phrases([given], byte_level) == wanted_phrases(["cat"], byte_level)


@pytest.mark.parametrize("given", ["", " ", "\n"])
def test_a_list_with_an_empty_word_is_refused(byte_level: TextCodec, given: str) -> None:
    with pytest.raises(ValueError, match=r"^--bad_words: '.*' is no word; leave it out"):
        forbidden_sequences(["cat", given], byte_level)
    with pytest.raises(ValueError, match=r"^--force_words: '.*' is no word; leave it out"):
        wanted_phrases(["cat", given], byte_level)


def test_a_sentence_piece_word_has_one_form(sentence_piece: TextCodec) -> None:
    (ids,) = forbidden_sequences(["cat"], sentence_piece)
    assert sentence_piece.tokens(ids)[0].startswith("▁")
    assert wanted_phrases(["cat"], sentence_piece) == (ids,)


def test_a_word_piece_word_has_one_form(word_piece: TextCodec) -> None:
    words = ["tools", "with , tool", "tools"]
    sequences = forbidden_sequences(words, word_piece)
    assert sequences == wanted_phrases(words, word_piece)
    assert [word_piece.tokens(ids) for ids in sequences] == [["tools"], ["with", ",", "tool"]]


def test_what_the_tokenizer_cannot_write_is_refused(word_piece: TextCodec) -> None:
    with pytest.raises(ValueError, match=r"--bad_words: the tokenizer cannot write '\?!'"):
        forbidden_sequences(["tool", "?!"], word_piece)
    with pytest.raises(ValueError, match=r"--force_words: '\[SEP\]' is a special token"):
        wanted_phrases(["[SEP]"], word_piece)


@pytest.mark.parametrize("value", ["nope.txt", "/no/such", "./nope", "~/nope", "a/b.list"])
def test_the_name_of_no_file_is_warned_of(value: str, caplog: pytest.LogCaptureFixture) -> None:
    assert read_words(value, "bad_words") == [value]
    assert f"--bad_words {value}: there is no such file" in caplog.text


@pytest.mark.parametrize("value", ["word", "and/or", "U.S.", "v1.2", "two words.", "a.txt|b", "/"])
def test_words_are_not_warned_of(value: str, caplog: pytest.LogCaptureFixture) -> None:
    read_words(value, "bad_words")
    assert not caplog.text


def test_half_a_character_names_the_flag(word_piece: TextCodec) -> None:
    with pytest.raises(ValueError, match=r"^--bad_words: 'a.udcff' holds half a character"):
        forbidden_sequences(["the", "a\udcff"], word_piece)
    with pytest.raises(ValueError, match=r"^--force_words: ' a.udcff' holds half a character"):
        wanted_phrases(["a\udcff"], word_piece)


@pytest.mark.parametrize(
    ("ids", "held"),
    [((5, 6), True), ((5, 6, 1), True), ((5, 6, 9), False), ((5, 6, 9, 5, 6), True), ((6,), False)],
)
def test_a_longer_word_does_not_hold_a_word(ids: tuple[int, ...], held: bool) -> None:
    marks = WordMarks(open=frozenset({6}), continuing=frozenset({9}))
    assert holds(ids, (5, 6), marks) == held
    assert holds(ids, (5, 6)) == (ids[:2] == (5, 6))
    closed = WordMarks(open=frozenset({5}), continuing=frozenset({9}))
    assert holds(ids, (5, 6), closed) == (ids[:2] == (5, 6))
