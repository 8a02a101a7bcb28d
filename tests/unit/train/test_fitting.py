"""How many examples go through the model at once, from one start of a run to the next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.train.runs import Train


def test_the_batch_that_was_found_to_fit_is_kept(
    run: Train,
    output_dir: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(auto_batch_size=True, num_training_steps=2)
    told = json.loads((output_dir / "train_options.json").read_text(encoding="utf-8"))
    assert told["batches"]["micro_batch_size"] == 4  # all of an update; more is of no use
    assert told["schedule"]["global_batch_size"] == 4
    caplog.clear()
    run(auto_batch_size=True, num_training_steps=4)
    assert "4 examples in a forward pass, as found before" in caplog.text
    caplog.clear()
    run(auto_batch_size=True, gradient_checkpointing=True, num_training_steps=6)
    assert "4 of the longest examples fit" in caplog.text
    caplog.clear()
    run(auto_batch_size=True, gradient_checkpointing=True, overwrite_output_dir=True)
    assert "4 of the longest examples fit" in caplog.text
    caplog.clear()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    run(auto_batch_size=True, gradient_checkpointing=True, overwrite_output_dir=True)
    assert "4 examples in a forward pass, as found before" in caplog.text
