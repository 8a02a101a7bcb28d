"""A checkpoint that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2s_ft.train.folders import commit
from tests.unit.train.folders.small import record, writing


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return commit(tmp_path / "ckpt-5", writing("old"), record(5))
