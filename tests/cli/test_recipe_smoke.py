"""One recipe for real: miniature data, a tiny model, every stage, and nothing made twice."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# Stands in for the environment's Python, so that nothing is installed.
PYTHON = """#!/usr/bin/env bash
if [[ $1 == -m && $2 == pip ]]; then exit; fi
exec {python} "$@"
"""


def smoke(folder: Path) -> subprocess.CompletedProcess[str]:
    python = folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    (folder / "venv" / "pyvenv.cfg").touch()
    python.write_text(PYTHON.format(python=shlex.quote(sys.executable)))
    python.chmod(0o755)
    return subprocess.run(
        ["bash", "scripts/xsum.sh", "--smoke", "--output", str(folder / "run")],
        cwd=REPOSITORY,
        env={**os.environ, "VENV": str(folder / "venv"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_recipe_goes_the_whole_way_and_makes_nothing_twice(tmp_path: Path) -> None:
    done = smoke(tmp_path)
    assert done.returncode == 0, done.stderr
    (scores,) = (tmp_path / "run-smoke").glob("*/test.json")
    rouge = json.loads(scores.read_text(encoding="utf-8"))["scores"]["rouge1"]["value"]
    table = tmp_path / "run-smoke" / "RESULTS.md"
    rows = [line for line in table.read_text(encoding="utf-8").splitlines() if "| tiny |" in line]
    assert len(rows) == 2
    assert f" {rouge:.2f} " in rows[1]
    assert all(re.search(r"\| [\d.]+ s \| [\d.]+ [MG]iB \|", row) for row in rows)

    stamps = {path: path.stat().st_mtime_ns for path in scores.parent.rglob("*") if path.is_file()}
    again = smoke(tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("is there") == 7
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert [line for line in table.read_text().splitlines() if "| tiny |" in line] == rows
