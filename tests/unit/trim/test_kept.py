"""Which tokens stay, on vocabularies small enough to say it by hand, and on random text."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from s2s_ft.text import TextCodec
from s2s_ft.trim.kept import Vocabulary, kept_ids
from s2s_ft.trim.tokenizer_file import trimmed_content
from tests.unit.text.tokenizers_on_disk import CORPUS, KINDS


def content(kind: str, tokens: list[str], **model: Any) -> dict[str, Any]:
    vocabulary: Any = {token: number for number, token in enumerate(tokens)}
    if kind == "Unigram":
        vocabulary = [[token, -float(number)] for number, token in enumerate(tokens)]
    added = [{"id": 0, "content": tokens[0], "special": True}]
    return {"model": {"type": kind, "vocab": vocabulary, **model}, "added_tokens": added}


def kept(source: dict[str, Any], *wanted: str, all_characters: bool = True) -> list[str]:
    vocabulary = Vocabulary.of(source)
    names = {number: token for token, number in vocabulary.ids.items()}
    ids = [vocabulary.ids[token] for token in wanted]
    return [names[each] for each in kept_ids(vocabulary, ids, all_characters=all_characters)]


def test_word_pieces_keep_characters_and_what_only_they_spell() -> None:
    tokens = ["[U]", "a", "b", "##a", "##b", "ab", "##ab", "ac", "##bc", "aab"]
    source = content("WordPiece", tokens, continuing_subword_prefix="##")
    # c is no piece by itself, so ac and ##bc cannot be spelled without themselves.
    assert kept(source, "ab") == ["[U]", "a", "b", "##a", "##b", "ab", "ac", "##bc"]
    assert kept(source, "ac", all_characters=False) == ["[U]", "a", "##a", "ac"]


def test_unigrams_keep_the_worst_score() -> None:
    source = content("Unigram", ["<u>", "a", "b", "ab", "aab", "abb"], unk_id=0)
    assert kept(source, "ab") == ["<u>", "a", "b", "ab", "abb"]


def test_merges_keep_what_is_made_on_the_way() -> None:
    tokens = ["<s>", "a", "b", "c", "ab", "bc", "abc", "cc", "ccab"]
    merges = [["b", "c"], ["a", "b"], ["a", "bc"], ["c", "c"], ["cc", "ab"]]
    source = content("BPE", tokens, merges=merges)
    assert kept(source, "abc") == ["<s>", "a", "b", "c", "bc", "abc"]  # ab is never made of abc
    assert kept(source, "ccab", all_characters=False) == [
        "<s>",
        "a",
        "b",
        "c",
        "ab",
        "cc",
        "ccab",
    ]
    ids = [0, 1, 2, 3, 5, 6]
    assert trimmed_content(source, ids)["model"]["merges"] == [["b", "c"], ["a", "bc"]]


def test_merges_may_be_written_in_two_ways() -> None:
    tokens = ["<s>", "a", "b", "ab"]
    for merges in (["a b"], [["a", "b"]]):
        assert Vocabulary.of(content("BPE", tokens, merges=merges)).merges == {("a", "b"): 0}


@pytest.mark.parametrize("changes", [{"end_of_word_suffix": "</w>"}, {"type": "WordLevel"}])
def test_other_kinds_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be trimmed"):
        Vocabulary.of(content("BPE", ["<s>"], **changes))


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_random_corpora_read_as_before(
    make: Callable[[Path], Path], seed: int, tmp_path: Path
) -> None:
    """Words of all languages in any order, and strings of their characters."""
    codec = TextCodec.load(make(tmp_path / "t"))
    source = json.loads(codec.tokenizer.backend_tokenizer.to_str())
    drawn = random.Random(seed)
    words = " ".join(CORPUS).split()
    characters = "".join(words)
    corpus = [" ".join(drawn.sample(words, 5)) for _ in range(3)]
    corpus += ["".join(drawn.choices(characters, k=12)) for _ in range(3)]
    before = codec.encode(corpus)
    wanted = {token_id for row in before for token_id in row}
    for all_characters in (True, False):
        ids = kept_ids(Vocabulary.of(source), wanted, all_characters=all_characters)
        smaller = Tokenizer.from_str(json.dumps(trimmed_content(source, ids)))
        assert smaller.get_vocab_size() == len(ids)
        for text, row in zip(corpus, before, strict=True):
            found = smaller.encode(text, add_special_tokens=False).ids
            assert [ids[each] for each in found] == row
