"""Tokens that a user adds: found, written, saved; and the file they come from."""

from collections.abc import Callable
from pathlib import Path

import pytest

from s2s_ft.text import TextCodec, read_tokens
from tests.unit.text.tokenizers_on_disk import KINDS, unigram, word_piece

Make = Callable[[Path], Path]
TOKENS = ["<num>", "Debian", "größe", "新冠"]


@pytest.mark.parametrize("make", KINDS)
def test_new_tokens_are_found_and_written(make: Make, tmp_path: Path) -> None:
    plain = TextCodec.load(make(tmp_path / "t"))
    size = len(plain.tokenizer)
    codec = TextCodec.load(tmp_path / "t").with_tokens(TOKENS)
    assert [token.id for token in codec.new_tokens] == list(range(size, size + 4))
    assert codec.special.vocab_size == size + 4
    assert codec.fingerprint != plain.fingerprint
    text = "the Debian <num> größe server 今天新冠天气"
    if make is unigram:  # cut at spaces: it cannot tell whether there was one before a token
        text = text.replace("新冠", " 新冠 ")
    (ids,) = codec.encode([text])
    assert {token.id for token in codec.new_tokens} <= set(ids)
    assert codec.decode(ids) == text
    assert codec.encode([codec.decode(ids)]) == [ids]


@pytest.mark.parametrize("make", KINDS)
def test_pieces_are_what_the_text_was_before(make: Make, tmp_path: Path) -> None:
    plain = TextCodec.load(make(tmp_path / "t"))
    unknown = plain.tokenizer.unk_token_id
    for token, pieces in zip(TOKENS, plain.encode(TOKENS), strict=True):
        (new,) = TextCodec.load(tmp_path / "t").with_tokens([token]).new_tokens
        assert list(new.pieces) == ([each for each in pieces if each != unknown] or pieces)


@pytest.mark.parametrize("make", KINDS)
def test_new_tokens_are_saved(make: Make, tmp_path: Path) -> None:
    codec = TextCodec.load(make(tmp_path / "t")).with_tokens(TOKENS)
    codec.save(tmp_path / "saved")
    again = TextCodec.load(tmp_path / "saved")
    assert again.fingerprint == codec.fingerprint
    assert again.new_tokens == ()
    assert again.encode(["the Debian <num>"]) == codec.encode(["the Debian <num>"])


def test_words_are_whole_words_and_markers_are_not(tmp_path: Path) -> None:
    codec = TextCodec.load(word_piece(tmp_path), do_lower_case=True).with_tokens(["Nets", "<n>"])
    nets, marker = (token.id for token in codec.new_tokens)
    assert nets in codec.encode(["a nets."])[0]  # in the casing of the tokenizer
    assert nets not in codec.encode(["netsy"])[0]
    assert codec.encode(["a<n>b"])[0].count(marker) == 1


def test_known_tokens_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    codec = TextCodec.load(word_piece(tmp_path))
    with caplog.at_level("INFO"):
        same = codec.with_tokens(["server", "[MASK]"])
    assert same.fingerprint == codec.fingerprint
    assert same.new_tokens == ()
    assert "2 of the tokens already: server, [MASK]" in caplog.text


def test_a_known_word_in_another_casing_is_passed_over(tmp_path: Path) -> None:
    folder = word_piece(tmp_path)
    uncased = TextCodec.load(folder, do_lower_case=True)
    assert uncased.tokens(uncased.encode(["server"])[0]) == ["server"]
    assert uncased.with_tokens(["Server"]).new_tokens == ()
    cased = TextCodec.load(folder).with_tokens(["SERVER"])
    assert cased.tokens(cased.encode(["server SERVER"])[0]) == ["server", "SERVER"]


def test_one_word_in_two_casings_is_refused_where_casing_does_not_count(tmp_path: Path) -> None:
    folder, both = word_piece(tmp_path), ["DebSum", "DEBSUM"]
    with pytest.raises(ValueError, match=r"'DebSum' and 'DEBSUM' are the same.*'debsum'"):
        TextCodec.load(folder, do_lower_case=True).with_tokens(both)
    assert len(TextCodec.load(folder).with_tokens(both).new_tokens) == 2


@pytest.mark.parametrize("token", ["##", "##NUM##", "##er"])
def test_what_reads_as_a_piece_of_a_word_is_refused(token: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"'{token}' would be read as a piece of a word"):
        TextCodec.load(word_piece(tmp_path / "word")).with_tokens([token])
    assert TextCodec.load(unigram(tmp_path / "other")).with_tokens([token]).new_tokens


def test_order_and_content_decide_the_fingerprint(tmp_path: Path) -> None:
    folder = word_piece(tmp_path)
    lists = [["<a>", "<b>"], ["<b>", "<a>"], ["<a>"], ["<a>", "<b>"]]
    prints = [TextCodec.load(folder).with_tokens(tokens).fingerprint for tokens in lists]
    assert len(set(prints)) == 3
    assert prints[0] == prints[3]


class TestFile:
    def read(self, folder: Path, content: bytes) -> list[str]:
        path = folder / "tokens.txt"
        path.write_bytes(content)
        return read_tokens(path, "--additional_tokens")

    def test_one_a_line(self, tmp_path: Path) -> None:
        content = "\ufeff<a>\r\n größe \n新冠\n\n".encode()
        assert self.read(tmp_path, content) == ["<a>", "größe", "新冠"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "line 1: is empty"),
            (b"a\n\nb\n", "line 2: is empty"),
            (b"a b\n", "line 1: holds a space"),
            (b"a\nb\na\n", "line 3: 'a' stands in line 1 already"),
            (b"\xff\n", "not UTF-8"),
        ],
    )
    def test_faults(self, content: bytes, message: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=message) as fault:
            self.read(tmp_path, content)
        assert "tokens.txt" in str(fault.value)
        assert "\n" not in str(fault.value)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"--additional_tokens .*no such file"):
            read_tokens(tmp_path / "nowhere", "--additional_tokens")
