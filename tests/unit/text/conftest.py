"""A codec of word pieces."""

from pathlib import Path

import pytest

from s2s_ft.text import TextCodec
from tests.unit.text.small_tokenizers import word_piece


@pytest.fixture
def codec(tmp_path: Path) -> TextCodec:
    return TextCodec.load(word_piece(tmp_path / "word_piece"))
