"""Every kind of tokenizer gives text back: ids -> text -> ids, and text -> ids -> text."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from s2s_ft.text import TextCodec, collapse_repeated_punctuation
from tests.unit.text.tokenizers_on_disk import CORPUS, KINDS, SENTENCES, word_piece, write

Make = Callable[[Path], Path]
OTHERS = [make for make in KINDS if make is not word_piece]


@pytest.fixture(scope="module")
def codecs(tmp_path_factory: pytest.TempPathFactory) -> dict[Make, TextCodec]:
    return {make: TextCodec.load(make(tmp_path_factory.mktemp("t") / "t")) for make in KINDS}


def with_word_pieces(tmp_path: Path, settings: dict[str, object], *words: str) -> TextCodec:
    """A bare vocabulary of words, and their pieces, with a configuration beside it."""
    pieces = sorted({piece for word in words for c in word for piece in (c, f"##{c}")})
    rows = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*words, *pieces])]
    (tmp_path / "vocab.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    return TextCodec.load(tmp_path)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("language", SENTENCES)
def test_ids_come_back_from_their_text(
    codecs: dict[Make, TextCodec], make: Make, language: str
) -> None:
    codec = codecs[make]
    (ids,) = codec.encode([SENTENCES[language]])
    assert codec.tokenizer.unk_token_id not in ids
    text = codec.decode(ids)
    assert codec.encode([text]) == [ids]
    assert codec.decode(codec.encode([text])[0]) == text


@pytest.mark.parametrize("make", OTHERS)
@pytest.mark.parametrize("language", SENTENCES)
def test_text_comes_back_up_to_normalisation(
    codecs: dict[Make, TextCodec], make: Make, language: str
) -> None:
    codec, text = codecs[make], SENTENCES[language]
    normalizer = codec.tokenizer.backend_tokenizer.normalizer
    normal = text if normalizer is None else normalizer.normalize_str(text)
    assert codec.decode(codec.encode([text])[0]) == normal


def test_bytes_bring_back_what_no_token_knows(codecs: dict[Make, TextCodec]) -> None:
    for make in OTHERS:
        text = "völlig ungewöhnlich: ½ 😀 ᚠ"
        codec = codecs[make]
        if make.__name__ != "unigram":
            assert codec.decode(codec.encode([text])[0]) == unicodedata.normalize(
                "NFKC" if make.__name__ == "sentence_piece_bpe" else "NFC", text
            )


@pytest.mark.parametrize("language", ["chinese", "japanese", "thai"])
def test_scripts_without_spaces_get_none(codecs: dict[Make, TextCodec], language: str) -> None:
    codec, text = codecs[word_piece], SENTENCES[language]
    (ids,) = codec.encode([text])
    assert codec.decode(ids) == text
    assert " ".join(codec.words(ids)).replace(" ", "") == text.replace(" ", "")


def test_scripts_with_spaces_are_written_as_ever(codecs: dict[Make, TextCodec]) -> None:
    codec = codecs[word_piece]
    ids = codec.encode([SENTENCES["english"]])[0]
    words = "the old network server , which was slow , doesn ' t answer well - known calls ( yet )"
    assert codec.decode(ids) == words + " ."
    assert codec.words(ids) == codec.decode(ids).split(" ")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("今天(周五)很好!", "今天 (周五) 很好!"),
        ("2020年1月5日", "2020年1月5日"),
        ("用 python 写", "用 python 写"),
        ("他说“好”。ok。ok", "他说“好”。ok。ok"),
        ("タワー テスト", "タワー テスト"),
        ("東京 タワー、見た!", "東京タワー、見た!"),
        ("กิน ข้าว", "กิน ข้าว"),
        ("「東」・「京」", "「東」・「京」"),
        ("日 / 本", "日/本"),
    ],
)
def test_spaces_of_the_tokenizer_go_and_those_of_the_text_stay(
    text: str, wanted: str, tmp_path: Path
) -> None:
    codec = with_word_pieces(tmp_path, {"do_lower_case": False}, *text.split())
    (ids,) = codec.encode([text])
    assert codec.decode(ids) == wanted
    assert codec.encode([wanted]) == [ids]


def test_chinese_characters_that_are_kept_together(tmp_path: Path) -> None:
    """The tokenizer makes no space between them, so all spaces are the text's."""
    settings: dict[str, object] = {"do_lower_case": False, "tokenize_chinese_chars": False}
    codec = with_word_pieces(tmp_path, settings, "日本", "東京")
    (ids,) = codec.encode(["日本 東京 日本東京"])
    assert codec.tokens(ids)[:2] == ["日本", "東京"]
    assert codec.decode(ids) == "日本 東京 日本東京"
    codec.save(tmp_path / "saved")
    assert TextCodec.load(tmp_path / "saved").decode(ids) == "日本 東京 日本東京"


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"do_lower_case": False}, "Café"),
        ({"do_lower_case": True}, "cafe"),
        ({"do_lower_case": True, "strip_accents": False}, "café"),
        ({"do_lower_case": False, "strip_accents": True}, "Cafe"),
        ({"strip_accents": True}, "Cafe"),  # its words have capitals
    ],
)
def test_casing_and_accents_are_the_checkpoints(
    settings: dict[str, object], wanted: str, tmp_path: Path
) -> None:
    codec = with_word_pieces(tmp_path, settings, "Café", "cafe", "café", "Cafe")
    assert codec.decode(codec.encode(["Café"])[0]) == wanted
    codec.save(tmp_path / "saved")
    assert TextCodec.load(tmp_path / "saved").decode(codec.encode(["Café"])[0]) == wanted


@pytest.mark.parametrize(("vocabulary", "wanted"), [("Hello World", "Hello"), ("hello", "hello")])
def test_a_bare_vocabulary_tells_its_casing(vocabulary: str, wanted: str, tmp_path: Path) -> None:
    rows = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *vocabulary.split()]
    (tmp_path / "vocab.txt").write_text("\n".join(rows), encoding="utf-8")
    codec = TextCodec.load(tmp_path)
    assert codec.tokens(codec.encode(["Hello"])[0]) == [wanted]
    lower = TextCodec.load(tmp_path, do_lower_case=True)
    assert lower.tokens(lower.encode(["HELLO"])[0]) == ["hello" if wanted == "hello" else "[UNK]"]


def test_a_word_piece_tokenizer_of_another_make(tmp_path: Path) -> None:
    """Cut at spaces alone: every space is the text's, whatever the script."""
    vocabulary = {x: i for i, x in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "日", "本", "a"])}
    tokenizer = Tokenizer(models.WordPiece({**vocabulary, "[MASK]": 7}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    roles = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    codec = TextCodec.load(write(tmp_path, tokenizer, "bert", roles))
    assert codec.decode(codec.encode(["日 本 a"])[0]) == "日 本 a"


def test_every_sentence_was_in_training() -> None:
    assert set(CORPUS) == set(SENTENCES.values())


def test_repeated_marks_are_words_where_nothing_is_spaced(tmp_path: Path) -> None:
    """What rescoring shortens: it looks at words, as the text shows none."""
    codec = with_word_pieces(tmp_path, {"do_lower_case": False}, "好", "。")
    ids = codec.encode(["好。。。。"])[0]
    assert codec.join(collapse_repeated_punctuation(codec.words(ids))) == "好。"
    assert codec.join([]) == codec.join([""]) == ""
    assert codec.join(["", "好"]) == " 好"
