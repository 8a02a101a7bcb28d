"""Real pairs of text, from the sample that the repository keeps."""

import gzip
import json
from pathlib import Path

import pytest

DEV_FILE = Path(__file__).parents[3] / "examples" / "debsum" / "dev.jsonl.gz"


@pytest.fixture(scope="session")
def debsum() -> tuple[list[str], list[str]]:
    """Sources and references of 200 rows."""
    with gzip.open(DEV_FILE, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream][:200]
    return [row["src"] for row in rows], [row["tgt"] for row in rows]
