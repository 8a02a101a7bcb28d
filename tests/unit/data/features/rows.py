"""Four rows, their ids, and how to compare stores."""

import json
from pathlib import Path
from typing import Any

from s2s_ft.data.features import FeatureStore
from s2s_ft.text import TextCodec

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "##x", "."]
ROWS: list[dict[str, Any]] = [
    {"src": "a b c", "tgt": "ax"},
    {"src": ["b", "##x", "nowhere"], "tgt": ""},
    {"src": "c.", "tgt": ["c", "."]},
    {"src": "\u0007", "tgt": "a"},  # a control character: no token at all
]
IDS = [([5, 6, 7], [5, 8]), ([6, 8, 1], []), ([7, 9], [7, 9]), ([], [5])]


def save_codec(folder: Path, vocabulary: list[str]) -> TextCodec:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return TextCodec.load(folder)


def save_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def content(store: FeatureStore) -> list[tuple[list[int], list[int]]]:
    return [(store.source(i).tolist(), store.target(i).tolist()) for i in range(len(store))]
