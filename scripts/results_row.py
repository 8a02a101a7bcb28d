"""Put a run's scores into a table of results: a row a split and language, with what made them.

    python scripts/results_row.py --table outputs/xsum/RESULTS.md --task xsum --backbone … \\
        --method … --seed 42 --command "scripts/xsum.sh" --scores dev.json test.json \\
        --metrics model/metrics.jsonl

Notable: scores are read from what the evaluation wrote, time and memory from what training did;
rows of the same run are replaced, so that it may be called again. Several languages get a row with
their mean, too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from s2s_ft.storage.output_file import write_whole
from s2s_ft.train.lines import TRAIN, read_lines
from s2s_ft.train.report.axes import duration, memory

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
KEY = ("task", "backbone", "method", "seed", "variant", "split")
"""Columns that tell one row from another."""

COLUMNS = (*KEY, "rows", *SCORES, "training time", "peak memory", "commit", "hardware", "command")
HEAD = [
    "# Results",
    "",
    "Each row is of one run; higher is better. Training time is that of all updates, without looks",
    "and saves; memory is the most of one process: of tensors on a GPU, of everything on a CPU.",
    "Published figures are in the repository's RESULTS.md.",
    "",
    "| " + " | ".join(COLUMNS) + " |",
    "|" + "---|" * len(COLUMNS),
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


def cost(metrics: Path | None) -> tuple[str, str]:
    """Time and memory that training took, in words; empty where no line tells of them.

    The lines of a run that was stopped and went on are those of one that was not: time adds up
    over them, updates that had to be taken again count once, and each line has the most memory
    that its process had taken until then.
    """
    lines = [] if metrics is None else [x for x in read_lines(metrics) if x.get("kind") == TRAIN]
    if not lines:
        return "", ""
    return (
        duration(sum(line["seconds"] for line in lines)),
        memory(max(line["peak_memory_bytes"] for line in lines)),
    )


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
    keys = {tuple(row[: len(KEY)]) for row in new}
    kept = [
        line
        for line in old[len(HEAD) :]
        if tuple(cell.strip() for cell in line[2:].split(" | ")[: len(KEY)]) not in keys
    ]
    return [*HEAD, *kept, *("| " + " | ".join(row) + " |" for row in new)]


def main() -> int:
    """Read the command line and write the table; returns the exit code."""
    parser = argparse.ArgumentParser(description="Put scores into a table of results.")
    parser.add_argument("--table", type=Path, required=True)
    for name in ("task", "backbone", "method", "seed", "command"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--variant", default="", help="What else tells this run from others.")
    parser.add_argument(
        "--metrics", type=Path, help="metrics.jsonl of the training, if it is there."
    )
    parser.add_argument("--scores", type=Path, nargs="+", required=True)
    given = parser.parse_args()
    old = given.table.read_text(encoding="utf-8").splitlines() if given.table.exists() else HEAD
    if old[: len(HEAD)] != HEAD:
        print(
            f"error: --table {given.table}: is another kind of file; name a new one",
            file=sys.stderr,
        )
        return 2
    found = {path.stem: read(path) for path in given.scores}
    start = [given.task, given.backbone, given.method, given.seed, given.variant]
    end = [*cost(given.metrics), commit(), hardware(), f"`{given.command}`"]
    rows = []
    for name, (count, scores) in {**found, **averages(found)}.items():
        values = [f"{scores[each]:.2f}" if each in scores else "" for each in SCORES]
        rows.append([*start, name, str(count), *values, *end])
    given.table.parent.mkdir(parents=True, exist_ok=True)
    write_whole(given.table, [f"{line}\n" for line in merged(old, rows)])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
