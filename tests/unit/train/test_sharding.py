"""Which torch spreads weights over ranks; the spreading itself is in tests/distributed."""

from __future__ import annotations

import pytest
import torch
from torch.torch_version import TorchVersion

from s2s_ft.cli import EnvironmentFault
from s2s_ft.train.sharding import check_torch


@pytest.mark.parametrize(
    ("installed", "device", "looks", "cause"),
    [
        ("2.6.0", "cpu", False, r"--fsdp on a CPU: torch 2\.7"),
        ("2.6.0", "cuda", True, r"--fsdp with --dev_file: torch 2\.8"),
        ("2.7.1", "cpu", True, r"--fsdp with --dev_file: torch 2\.8"),
        ("2.6.0", "cuda", False, None),
        ("2.7.1", "cpu", False, None),
        ("2.8.0", "cpu", True, None),
    ],
)
def test_what_this_torch_cannot_do_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, installed: str, device: str, looks: bool, cause: str | None
) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion(installed))
    if cause is None:
        check_torch(torch.device(device), looks=looks)
        return
    with pytest.raises(EnvironmentFault, match=cause):
        check_torch(torch.device(device), looks=looks)
