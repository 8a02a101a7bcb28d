"""A run's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2s_ft.options import TrainOptions, as_dict, build
from s2s_ft.train.lines import METRICS, OPTIONS, SAMPLES, SESSIONS, write_json
from tests.unit.train.report.pages import NASTY, look_line, train_line, write_lines


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """The files of a run of 20 updates that was killed after 4, went on, and was stopped at 12."""
    folder = tmp_path / "my <run>"
    folder.mkdir()
    flags = {"train_file": "train.jsonl", "model_name_or_path": "bert", "output_dir": str(folder)}
    flags |= {"dev_file": "dev.jsonl", "eval_metric": "rouge2", "learning_rate": 1e-4}
    options = as_dict(build(TrainOptions, flags))
    options["data"]["train_file"] = NASTY  # which the flag would refuse; the file may say anything
    write_json(folder / OPTIONS, {**options, "schedule": {"total_steps": 20, "warmup_steps": 0}})
    looks = [
        look_line(4, improved=True),
        look_line(8, improved=True),
        look_line(12, improved=False),
    ]
    write_lines(folder / METRICS, [*(train_line(step) for step in range(2, 13, 2)), *looks])
    samples = [
        {
            "step": step,
            "row": 7,
            "source": NASTY,
            "reference": "ref",
            "generated": f"{NASTY} {step}",
        }
        for step in (4, 8, 12)
    ]
    write_lines(folder / SAMPLES, samples)
    machine = {"device": "GPU <X>", "ranks": 2, "threads": 4, "system": "Linux"}
    machine |= {"command": f"run_seq2seq.py {NASTY}", "versions": {"torch": "9.9"}}
    sessions = [
        {"kind": "start", "step": 0, "time": "2026-01-01T00:00:00Z", **machine},
        {"kind": "start", "step": 4, "time": "2026-01-01T01:00:00Z", **machine},
        {"kind": "end", "step": 12, "time": "2026-01-01T02:00:00Z", "ending": "stopped by SIGTERM"},
    ]
    write_lines(folder / SESSIONS, sessions)
    return folder
