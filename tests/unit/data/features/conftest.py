"""Data, codec and a function that builds a store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.data import features
from s2s_ft.data.features import FeatureStore, build_or_open
from s2s_ft.text import TextCodec
from tests.unit.data.features.rows import ROWS, VOCABULARY, save_codec, save_rows


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> TextCodec:
    return save_codec(tmp_path_factory.mktemp("codec"), VOCABULARY)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_rows(tmp_path / "train.jsonl", ROWS)


@pytest.fixture
def build(tmp_path: Path, data: Path, codec: TextCodec) -> Callable[..., FeatureStore]:
    def build_store(
        path: Path = data, with_codec: TextCodec = codec, **options: Any
    ) -> FeatureStore:
        return build_or_open(path, with_codec, **{"folder": tmp_path / "features", **options})

    return build_store


@pytest.fixture
def no_tokenising(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr(features, "read_examples", refuse)
