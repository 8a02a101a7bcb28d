"""Tokenisation and detokenisation against what the original toolkit's tokenizer gave.

Every folder `a5_*` of the golden cases is run, on the real uncased vocabulary, which is kept beside
this file (that of MiniLM-L6-H384-uncased, the same as BERT's; Apache-2.0).

The original puts a space between any two words. So does `" ".join(codec.words(ids))`, for every
text; the text that `decode` gives has the same words, and the same spaces wherever the script has
spaces between words.
"""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.text import TextCodec, collapse_repeated_punctuation, join_word_pieces
from s2s_ft.text.spacing import is_unspaced

HERE = Path(__file__).parent
GOLDEN = Path(os.environ.get("S2S_FT_GOLDEN") or HERE / "golden")
CASES = sorted(GOLDEN.glob("a5_*"))


@pytest.fixture(scope="module")
def vocabulary_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    packed = (HERE / "bert_uncased_vocab.txt.gz").read_bytes()
    (folder / "vocab.txt").write_bytes(gzip.decompress(packed))
    return folder


def load_case(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    inputs, expected = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("inputs.json", "expected.json")
    )
    assert len(inputs["texts"]) == len(expected["texts"]) > 0
    assert len(inputs["token_lists"]) == len(expected["token_lists"]) > 0
    return inputs, expected


def test_there_are_cases() -> None:
    assert CASES, f"no a5_* folder in {GOLDEN}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(("lower_case", "prefix"), [(True, ""), (False, "cased_")])
def test_every_text_gets_the_recorded_tokens_and_ids(
    case: Path, vocabulary_folder: Path, lower_case: bool, prefix: str
) -> None:
    inputs, expected = load_case(case)
    codec = TextCodec.load(vocabulary_folder, do_lower_case=lower_case)
    ids = codec.encode(inputs["texts"])
    for text, found, wanted in zip(inputs["texts"], ids, expected["texts"], strict=True):
        assert found == wanted[f"{prefix}ids"], repr(text)
        assert codec.tokens(found) == wanted[f"{prefix}tokens"], repr(text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_text_reads_as_recorded(case: Path, vocabulary_folder: Path) -> None:
    inputs, expected = load_case(case)
    codec = TextCodec.load(vocabulary_folder, do_lower_case=True)
    ends = {codec.special.sep, codec.special.pad}
    for text, wanted in zip(inputs["texts"], expected["texts"], strict=True):
        assert " ".join(join_word_pieces(wanted["tokens"])) == wanted["detokenized"], repr(text)
        if ends & set(wanted["ids"]):  # decode also cuts at an end
            continue
        assert " ".join(codec.words(wanted["ids"])) == wanted["detokenized"], repr(text)
        decoded = codec.decode(wanted["ids"])
        if is_unspaced(wanted["detokenized"]):
            assert decoded.replace(" ", "") == wanted["detokenized"].replace(" ", ""), repr(text)
        else:
            assert decoded == wanted["detokenized"], repr(text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_token_list_joins_and_collapses_as_recorded(case: Path) -> None:
    inputs, expected = load_case(case)
    for tokens, wanted in zip(inputs["token_lists"], expected["token_lists"], strict=True):
        words = join_word_pieces(tokens)
        assert tokens == wanted["tokens"]
        assert words == wanted["detokenize"], tokens
        collapsed = collapse_repeated_punctuation(words)
        assert collapsed == wanted["rescore_postprocess(detokenize)"], tokens
