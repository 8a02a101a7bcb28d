"""A student of some layers: of every family, written as its family reads it, equal to the teacher
where all layers stay.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from s2s_ft.distill.student import StudentOptions, main, make_student, with_layers
from s2s_ft.layout import Batch
from s2s_ft.methods import method_named
from s2s_ft.model.parts import encoder_layers
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.text import SpecialIds
from tests.conftest import FAMILIES, VOCABULARY

SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=len(VOCABULARY))


@pytest.fixture(scope="module")
def batch() -> Batch:
    method = method_named("pseudo_mask", special=SPECIAL, max_source_length=14, max_target_length=6)
    rng = np.random.default_rng(1)
    return method.lay_out(
        [method.corrupt(rng.integers(5, 40, n), rng.integers(5, 40, 4), rng) for n in (11, 3)]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_all_layers_are_the_same_model(
    tiny_checkpoint: Callable[[str], Path], batch: Batch, family: str
) -> None:
    model = load_finetuned(str(tiny_checkpoint(family)))
    same = with_layers(model, range(model.num_layers))
    with torch.no_grad():
        assert torch.equal(same.logits(batch), model.logits(batch))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_is_a_checkpoint_of_its_family(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path, batch: Batch, family: str
) -> None:
    folder = tmp_path / "student"
    layers = "0,2" if family == "modernbert" else "0"
    options = StudentOptions(
        model_path=str(tiny_checkpoint(family)), layers=layers, output_dir=str(folder)
    )
    assert make_student(options) == 0
    teacher, student = load_finetuned(str(tiny_checkpoint(family))), load_finetuned(str(folder))
    assert student.num_layers == len(options.chosen)
    kept = [encoder_layers(teacher.encoder)[number][1] for number in options.chosen]
    for own, whole in zip(encoder_layers(student.encoder), kept, strict=True):
        for one, other in zip(own[1].parameters(), whole.parameters(), strict=True):
            assert torch.equal(one, other)
    assert type(AutoModelForMaskedLM.from_pretrained(folder)) is type(teacher.encoder)
    with torch.no_grad():
        assert torch.isfinite(student.logits(batch)).all()
    assert "is to be trained" in (folder / "README.md").read_text(encoding="utf-8")


def test_windows_go_with_their_layers(tiny_checkpoint: Callable[[str], Path]) -> None:
    teacher = load_finetuned(str(tiny_checkpoint("modernbert")))
    student = with_layers(teacher, [0, 2])
    kinds = teacher.encoder.config.layer_types
    assert student.encoder.config.layer_types == [kinds[0], kinds[2]]


def test_only_weights_of_one_layer_leave_the_rest_alone(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    teacher = load_finetuned(str(tiny_checkpoint("bert")))
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    student = with_layers(teacher, [1])
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_a_choice_that_the_family_does_not_allow_is_refused(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    model = load_finetuned(str(tiny_checkpoint("modernbert")))
    with pytest.raises(ValueError, match=r"--layers 1,2: .*'modernbert' cannot be built"):
        with_layers(model, [1, 2])
    with pytest.raises(ValueError, match=r"no layer 7, the encoder has 3, counted from 0"):
        with_layers(model, [0, 7])


@pytest.mark.parametrize("layers", ["2,1", "0,0", "-1,2", "a", "0,,2", "1.5"])
def test_layers_that_are_no_ascending_numbers_are_refused(layers: str) -> None:
    with pytest.raises(ValueError, match="--layers"):
        StudentOptions(model_path="m", layers=layers, output_dir="o")


def test_a_folder_in_use_is_refused(tiny_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    arguments = ["--model_path", str(tiny_checkpoint("bert")), "--layers", "0"]
    with pytest.raises(ValueError, match=r"--output_dir .* is there already"):
        main([*arguments, "--output_dir", str(tmp_path)])
