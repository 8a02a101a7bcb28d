"""The simulated GPU notices what a real one would trip over; else these tests would be empty."""

from __future__ import annotations

import pytest

from tests.gpu.checks import CHECKS
from tests.gpu.conftest import said_by
from tests.gpu.process import CAN_SIMULATE


@pytest.fixture(scope="module")
def faults() -> dict[str, str]:
    """What each check complains of."""
    if not CAN_SIMULATE:
        pytest.skip("this torch cannot simulate a device")
    found: dict[str, str] = said_by("checks")
    return found


@pytest.mark.parametrize("name", CHECKS)
def test_what_it_must_notice(faults: dict[str, str], name: str) -> None:
    assert faults[name] == ""
