"""With a teacher: one rank or two take the same updates."""

from __future__ import annotations

from pathlib import Path

from s2s_ft.model.pretrained import load_for_training, save
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.conftest import write_checkpoint
from tests.distributed.conftest import Flags, assert_close
from tests.distributed.ranks import together, training


def teacher(folder: Path, tokenizer: Path) -> Path:
    """A checkpoint as training saves it, larger than the student."""
    pretrained = write_checkpoint(folder / "pretrained", "bert", tokenizer, num_hidden_layers=3)
    codec = TextCodec.load(str(pretrained))
    options = ModelOptions(model_name_or_path=str(pretrained))
    model = load_for_training(options, codec, max_source_length=14, max_target_length=6)
    (folder / "teacher").mkdir()
    save(model, codec, folder / "teacher")
    return folder / "teacher"


def test_any_number_of_ranks_learns_the_same(
    flags: Flags, tmp_path: Path, tiny_tokenizer_folder: Path
) -> None:
    taught_by = teacher(tmp_path, tiny_tokenizer_folder)
    more = ("--teacher_model", taught_by, "--distill_temperature", 2)
    folders = {size: tmp_path / f"ranks-{size}" for size in (1, 2)}
    for size, folder in folders.items():
        ended = together(training(flags(folder, *more)), size, tmp_path, launched=size > 1)
        assert [each.code for each in ended] == [0] * size, ended
    assert_close(folders[1] / "ckpt-9", folders[2] / "ckpt-9")
