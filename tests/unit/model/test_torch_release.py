"""That a torch which is too old for something is told at once, in one line."""

from __future__ import annotations

import pytest
import torch
from torch.torch_version import TorchVersion

from s2s_ft.cli import EnvironmentFault
from s2s_ft.export.onnx_files import check_packages
from s2s_ft.model.torch_release import require_torch


@pytest.mark.parametrize(
    ("installed", "is_enough"),
    [
        ("2.6.0", False),
        ("2.7.1+cu126", False),
        ("2.8.0", True),
        ("2.8.0+cpu", True),
        ("2.10.0", True),
        ("3.0.0", True),
    ],
)
def test_releases_are_compared_as_numbers(
    monkeypatch: pytest.MonkeyPatch, installed: str, is_enough: bool
) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion(installed))
    if is_enough:
        require_torch("2.8", "--flag")
        return
    with pytest.raises(EnvironmentFault) as caught:
        require_torch("2.8", "--flag")
    assert str(caught.value) == (
        f"--flag: torch 2.8 or newer is needed, and this is {installed}: install a newer one, or "
        "do without"
    )


def test_export_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.7.1"))
    with pytest.raises(EnvironmentFault, match=r"python -m s2s_ft\.export: torch 2\.8 or newer"):
        check_packages(int8=False)
