"""docs/families.md has a row for whatever the tests try."""

from pathlib import Path

from tests.formats.catalogue import FORMATS
from tests.formats.faults import FAULTS

DOCUMENT = Path(__file__).parents[3] / "docs" / "families.md"


def test_every_family_and_fault_is_in_the_tables() -> None:
    rows = DOCUMENT.read_text(encoding="utf-8").splitlines()
    named = {row.split(" | ")[0].removeprefix("| ") for row in rows if row.startswith("| ")}
    tried = {form.name for form in FORMATS} | {fault.name for fault in FAULTS}
    assert tried <= named, f"run scripts/families.py: {sorted(tried - named)}"


def test_every_step_went_well_with_every_method() -> None:
    rows = DOCUMENT.read_text(encoding="utf-8").splitlines()
    for form in FORMATS:
        (row,) = [row for row in rows if row.startswith(f"| {form.name} |")]
        assert row.endswith(" | c m p" * 7 + " |")
