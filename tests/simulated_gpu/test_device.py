"""The simulated GPU notices what a real one would trip over; else these tests would be empty."""

from __future__ import annotations

import pytest

from tests.simulated_gpu.checks import CHECKS
from tests.simulated_gpu.conftest import said_by
from tests.simulated_gpu.process import CAN_SIMULATE

pytestmark = pytest.mark.skipif(not CAN_SIMULATE, reason="this torch cannot simulate a device")


@pytest.fixture(scope="module")
def faults() -> dict[str, str]:
    """What each check complains of."""
    found: dict[str, str] = said_by("checks")
    return found


@pytest.mark.parametrize("name", CHECKS)
def test_it(faults: dict[str, str], name: str) -> None:
    assert faults[name] == ""
