"""Fine-tuned checkpoints of tiny encoders, and texts to decode with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from s2s_ft.model.pretrained import load_for_training, save
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.conftest import WORDS, write_checkpoint

TEXTS = [
    " ".join(WORDS[start : start + size]) for start, size in ((0, 9), (7, 3), (20, 14), (3, 1))
]

FineTuned = Callable[..., Path]


@pytest.fixture(scope="session")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_folder: Path) -> FineTuned:
    """A function that gives the folder of a checkpoint, as training saves it, by family and
    method; made once, not to be changed.
    """
    made: dict[tuple[str, str], Path] = {}

    def checkpoint(family: str, method: str, **changes: int) -> Path:
        if (family, method) not in made:
            parent = tmp_path_factory.mktemp("fine-tuned")
            folder = parent / f"{family}-{method}"
            folder.mkdir()
            pretrained = str(
                write_checkpoint(parent / "pretrained", family, tiny_tokenizer_folder, **changes)
            )
            codec = TextCodec.load(pretrained)
            options = ModelOptions(model_name_or_path=pretrained, fine_tuning_method=method)
            model = load_for_training(options, codec, max_source_length=20, max_target_length=8)
            save(model, codec, folder)
            made[family, method] = folder
        return made[family, method]

    return checkpoint
