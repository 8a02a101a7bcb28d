"""Flags to arithmetic."""

from __future__ import annotations

import pytest
import torch

from s2s_ft.train.precision import Precision, choose_precision

CPU = torch.device("cpu")


def choose(
    device: str = "cpu", *, fp16: bool = False, bf16: bool = False, level: str = "O1"
) -> Precision:
    return choose_precision(torch.device(device), fp16=fp16, bf16=bf16, fp16_opt_level=level)


def test_float32_is_plain() -> None:
    chosen = choose()
    assert chosen.name == "float32"
    with chosen.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


def test_bfloat16_on_a_cpu() -> None:
    chosen = choose(bf16=True)
    with chosen.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
    assert not chosen.scaler.is_enabled()


def test_float16_needs_cuda() -> None:
    with pytest.raises(ValueError, match=r"--fp16 needs a CUDA device.*--bf16"):
        choose(fp16=True)


def test_both_are_refused() -> None:
    with pytest.raises(ValueError, match="--fp16 and --bf16"):
        choose("cuda", fp16=True, bf16=True)


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_level_zero_of_the_old_flag_is_float32() -> None:
    assert choose("cuda", fp16=True, level="O0").name == "float32"
    assert choose("cuda", fp16=True, level="O2").name == "float16"
