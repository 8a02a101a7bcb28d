"""A folder whose only vocabulary is `sentencepiece.bpe.model`, as multilingual MiniLM has it."""

import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast, XLMRobertaTokenizer

from s2s_ft.cli import EnvironmentFault
from s2s_ft.text import TextCodec
from tests.unit.text.tokenizers_on_disk import unigram


@pytest.fixture(params=["bert", "xlm-roberta"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"not read here")
    config = f'{{"model_type": "{request.param}"}}'
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    return tmp_path


def test_the_package_that_is_missing_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(EnvironmentFault, match=r"bpe.model .*pip install sentencepiece") as fault:
        TextCodec.load(folder)
    assert "\n" not in str(fault.value)


def test_it_is_read_as_xlm_r(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = unigram(tmp_path_factory.mktemp("t") / "t")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(
        XLMRobertaTokenizer,
        "from_pretrained",
        lambda name, **_: PreTrainedTokenizerFast.from_pretrained(made),
    )
    codec = TextCodec.load(folder)
    assert (codec.special.cls, codec.special.pad, codec.special.sep) == (0, 1, 2)
    assert codec.decode(codec.encode(["the old network"])[0]) == "the old network"
