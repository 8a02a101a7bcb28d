"""One recipe for real: miniature data, a tiny model, every stage, and nothing made twice."""

import json
import re
import subprocess
from pathlib import Path

from tests.cli.installed import run_script


def smoke(folder: Path) -> subprocess.CompletedProcess[str]:
    return run_script(folder, "xsum.sh", "--smoke", "--output", "run")


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
