"""A run of every family goes on from its checkpoint, also where transformers would save weights
under other names than it holds them by.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from s2s_ft.train.resume import restore_checkpoint
from tests.formats.catalogue import FORMATS, Format
from tests.unit.train.resume.states import Ready, advance, assert_same_state, save


@pytest.mark.parametrize(
    "form", [form for form in FORMATS if not form.needs_converting], ids=lambda form: form.name
)
def test_a_run_of_the_family_resumes(form: Format, ready: Ready, tmp_path: Path) -> None:
    encoder = str(form.write(tmp_path))
    run, other = ready(model_name_or_path=encoder), ready(model_name_or_path=encoder)
    advance(run, 1)
    restore_checkpoint(save(run, tmp_path / "out"), other.state, other.facts)
    assert_same_state(run, other)
    advance(run, 1)
    advance(other, 1)
    assert_same_state(run, other)
