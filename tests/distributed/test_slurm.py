"""The job script of SLURM, with SLURM's commands played by others."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.distributed.ranks import ROOT

SCRIPTS = ("scripts/slurm/train.sbatch", "scripts/slurm/node.sh")

SRUN = """#!/usr/bin/env bash
echo "$RENDEZVOUS" "$@" >"$NOTES/started"
trap 'exit 138' USR1
trap 'exit 143' TERM
touch "$NOTES/ready"
for ((i = 0; i < 100; i++)); do
    [[ -e $NOTES/code ]] && exit "$(cat "$NOTES/code")"
    sleep 0.1
done
"""
SCONTROL = """#!/usr/bin/env bash
if [[ $1 == show ]]; then printf 'first\\nsecond\\n'; else echo "$@" >"$NOTES/requeued"; fi
"""
SQUEUE = """#!/usr/bin/env bash
echo "${STATE:-RUNNING}"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("squeue", SQUEUE)):
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "NOTES": str(tmp_path),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_SUBMIT_DIR": str(ROOT),
    }


@pytest.mark.parametrize("script", SCRIPTS)
def test_bash_understands_it(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("number", "state", "comes_back"),
    [
        (signal.SIGUSR1, "RUNNING", True),
        (signal.SIGTERM, "RUNNING", True),
        (signal.SIGTERM, "CANCELLED", False),
    ],
)
def test_a_job_that_saved_goes_back_into_the_queue(
    number: int, state: str, comes_back: bool, environment: dict[str, str], tmp_path: Path
) -> None:
    command = ["bash", SCRIPTS[0], "--train_file", "two words"]
    job = subprocess.Popen(command, cwd=ROOT, env={**environment, "STATE": state})
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    job.send_signal(number)
    assert job.wait(20) == 128 + number
    started = (tmp_path / "started").read_text(encoding="utf-8").strip()
    assert started.startswith("first:20007 ")
    assert started.endswith("scripts/slurm/node.sh --train_file two words")
    requeued = tmp_path / "requeued"
    assert requeued.exists() == comes_back
    if comes_back:
        assert requeued.read_text(encoding="utf-8").strip() == "requeue 7"


@pytest.mark.parametrize("code", [0, 1, 2, 3, 137])
def test_any_other_end_is_one(code: int, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "code").write_text(str(code), encoding="utf-8")
    job = subprocess.run(["bash", SCRIPTS[0]], cwd=ROOT, env=environment, check=False)
    assert job.returncode == code
    assert not (tmp_path / "requeued").exists()
