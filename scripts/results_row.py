"""Put a run's scores into a table of results: a row a split and language, with what made them.

    python scripts/results_row.py --table RESULTS.md --task xsum --backbone … --method … \\
        --seed 42 --command "scripts/xsum.sh" --scores dev.json test.json

Notable: scores are read from what the evaluation wrote; rows of the same run are replaced, so that
it may be called again. Several languages get a row with their mean, too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

SCORES = (
    "rouge1",
    "rouge2",
    "rougeL",
    "rougeLsum",
    "bleu",
    "bleu4",
    "meteor",
    "rougeL_f1.2",
    "chrf",
)
COLUMNS = ("task", "backbone", "method", "seed", "split", "rows", *SCORES)
HEAD = [
    "# Results",
    "",
    "Each row is of one run; higher is better. Published figures are in docs/benchmarks.md.",
    "",
    "| " + " | ".join((*COLUMNS, "commit", "hardware", "command")) + " |",
    "|" + "---|" * (len(COLUMNS) + 3),
]


def read(path: Path) -> tuple[int, dict[str, float]]:
    """Number of rows and the scores of a file that the evaluation wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    scores = content["scores"]
    found = {name: float(scores[name]["value"]) for name in SCORES if name in scores}
    return int(content["num_examples"]), found


def averages(
    found: Mapping[str, tuple[int, dict[str, float]]],
) -> dict[str, tuple[int, dict[str, float]]]:
    """Means over languages: of dev.de and dev.en, dev.mean."""
    groups: dict[str, list[tuple[int, dict[str, float]]]] = defaultdict(list)
    for name, each in found.items():
        if "." in name:
            groups[name.split(".")[0]].append(each)
    return {
        f"{split}.mean": (
            sum(rows for rows, _ in each),
            {score: mean(values[score] for _, values in each) for score in each[0][1]},
        )
        for split, each in groups.items()
    }


def hardware() -> str:
    """The GPU, or the processor's architecture and cores."""
    try:
        found = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\n")
        return f"{len(found) - 1} × {found[0]}"
    except (OSError, subprocess.CalledProcessError):
        return f"CPU, {platform.machine()}, {os.cpu_count()} cores"


def commit() -> str:
    """The commit, marked where the working tree differs from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def merged(old: Sequence[str], new: Sequence[Sequence[str]]) -> list[str]:
    """The table's lines, with the rows of this run in place of older ones of the same run."""
    keys = {tuple(row[:5]) for row in new}
    kept = [
        line
        for line in old
        if line.startswith("| ")
        and line not in HEAD
        and tuple(cell.strip() for cell in line.strip("|").split(" | ")[:5]) not in keys
    ]
    return [*HEAD, *kept, *("| " + " | ".join(row) + " |" for row in new)]


def main() -> None:
    """Read the command line and write the table."""
    parser = argparse.ArgumentParser(description="Put scores into a table of results.")
    parser.add_argument("--table", type=Path, required=True)
    for name in ("task", "backbone", "method", "seed", "command"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--scores", type=Path, nargs="+", required=True)
    given = parser.parse_args()
    found = {path.stem: read(path) for path in given.scores}
    rows = []
    for name, (count, scores) in {**found, **averages(found)}.items():
        values = [f"{scores[each]:.2f}" if each in scores else "" for each in SCORES]
        start = [given.task, given.backbone, given.method, given.seed, name, str(count), *values]
        rows.append([*start, commit(), hardware(), f"`{given.command}`"])
    old = given.table.read_text(encoding="utf-8").splitlines() if given.table.exists() else []
    given.table.parent.mkdir(parents=True, exist_ok=True)
    partial = given.table.with_name(f".{given.table.name}.partial")
    partial.write_text("\n".join(merged(old, rows)) + "\n", encoding="utf-8")
    partial.replace(given.table)


if __name__ == "__main__":
    main()
