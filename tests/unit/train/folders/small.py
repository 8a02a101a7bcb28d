"""A small checkpoint to write, and the names that folders may have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from s2s_ft.storage.checkpoint_record import FORMAT, RECORD

NAMES = re.compile(r"ckpt-\d+|best")
FILES = ("model.safetensors", "config.json", "sub/more.txt", RECORD)


def record(step: int) -> dict[str, object]:
    return {"format": FORMAT, "step": step}


def writing(content: str) -> Callable[[Path], None]:
    """A function that writes a small checkpoint."""

    def write(folder: Path) -> None:
        save_file({"weight": torch.arange(6.0)}, folder / "model.safetensors")
        (folder / "config.json").write_text(content, encoding="utf-8")
        (folder / "sub").mkdir()
        (folder / "sub" / "more.txt").write_text("more", encoding="utf-8")

    return write
