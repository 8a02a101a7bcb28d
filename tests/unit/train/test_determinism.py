"""Kernels that give the same bits every time: when they are asked for, and what stands against it.
That training gets along with them is shown in `tests/gpu`."""

from __future__ import annotations

import os

import pytest
import torch

from s2s_ft.cli import EnvironmentFault
from s2s_ft.train.determinism import deterministic

NAME = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set there is gone after a test."""
    monkeypatch.setenv(NAME, "gone")
    monkeypatch.delenv(NAME)


def test_they_are_used_inside_only() -> None:
    with deterministic(wanted=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        assert os.environ[NAME] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_nothing_changes_where_they_are_not_wanted() -> None:
    with deterministic(wanted=False):
        assert not torch.are_deterministic_algorithms_enabled()
        assert NAME not in os.environ


def test_what_has_none_is_told() -> None:
    """`put_` has none on a CPU either."""
    fault = r"--deterministic: .*put_ does not have .*; leave the flag out"
    with pytest.raises(EnvironmentFault, match=fault), deterministic(wanted=True):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))
    assert not torch.are_deterministic_algorithms_enabled()


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="must match"), deterministic(wanted=True):
        torch.ones(2) + torch.ones(3)


def test_an_environment_that_forbids_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, ":0:0")
    fault = f"{NAME} is ':0:0'.*:4096:8 or :16:8"
    with pytest.raises(EnvironmentFault, match=fault), deterministic(wanted=True):
        pass
    monkeypatch.setenv(NAME, ":16:8")
    with deterministic(wanted=True):
        assert os.environ[NAME] == ":16:8"
