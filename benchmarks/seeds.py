"""DebSum English at equal budget: three methods, several seeds, the whole test set, with intervals.

    python benchmarks/seeds.py TRAIN.jsonl TEST.jsonl OUTPUT [--seeds 1 2 3] [--only NAME …]
                               [--budget converged --dev DEV.jsonl]
                               [--markdown FILE] [--examples FILE] [--results FOLDER]

Every run is one of `run_seq2seq.py` and one of `decode_seq2seq.py`; a run that is there is not made
again, and one that was stopped goes on. `--only` without a name makes none. What is there, runs of
`bert2bert.py` in the same folder included, is put together in `results/seeds.json` (converged:
`seeds_converged.json`), with `--markdown` also between `<!-- debsum -->` and `<!-- /debsum -->`
(`debsum-converged`) of a file.

Notable: the methods are compared by a paired bootstrap; how intervals are drawn over examples and
seeds is told in `seed_scores.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import ROOT, parser_of
from benchmarks.rounds import write_report
from benchmarks.seed_budgets import BUDGETS, SAVING, TrainingBudget
from benchmarks.seed_runs import KEYS, METHODS, PEER, Run, by_method, collect, folder_of
from benchmarks.seed_scores import Draw, difference, summaries
from benchmarks.seed_tables import examples, replaced, tables
from benchmarks.train_speed import default_model
from s2s_ft.storage.output_file import write_whole
from scripts.results_row import commit, hardware

SEARCH = ("--beam_size", "5", "--length_penalty", "1.0", "--bf16", "--no_cuda")
WORD_DROP = {"causal": "0", "masked": "0.5", "pseudo_mask": "0"}
PAIRS = (
    ("masked", "causal"),
    ("pseudo_mask", "masked"),
    ("pseudo_mask", "causal"),
    *((method, PEER) for method in METHODS),
)
"""What is compared; among the three, a positive difference is the order that the paper finds."""


def train_flags(method: str, seed: int, given: argparse.Namespace) -> list[str]:
    """The flags of a training run."""
    output, budget = Path(given.output), BUDGETS[given.budget]
    folder = folder_of(output, method, seed)
    return [
        *("--train_file", given.train),
        *("--cached_train_features_file", str(output / "features")),
        *("--model_name_or_path", given.model or default_model()),
        *("--output_dir", str(folder / "model")),
        *("--fine_tuning_method", method),
        *("--target_mask_prob", WORD_DROP[method]),
        *(("--dev_file", given.dev) if budget.looks else ()),
        *budget.flags,
        *("--seed", str(seed)),
        *SAVING,
    ]


def decode_flags(method: str, seed: int, given: argparse.Namespace) -> list[str]:
    """The flags of decoding the test set."""
    folder = folder_of(Path(given.output), method, seed)
    return [
        *("--model_path", str(folder / "model" / BUDGETS[given.budget].checkpoint)),
        *("--input_file", given.test),
        *("--output_file", str(folder / "test.jsonl")),
        *("--output_format", "jsonl"),
        *SEARCH,
    ]


def make(method: str, seed: int, given: argparse.Namespace) -> None:
    """Train and decode, or go on with it; nothing where the run is there."""
    folder = folder_of(Path(given.output), method, seed)
    if (folder / "test.jsonl").exists():
        return
    if not (folder / "model").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "commit", [commit() + "\n"])
    if not (folder / "model" / f"ckpt-{BUDGETS[given.budget].steps}").exists():
        _run("run_seq2seq.py", train_flags(method, seed, given))
    _run("decode_seq2seq.py", decode_flags(method, seed, given))


def _run(script: str, flags: Sequence[str]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(ROOT / script), *flags], check=True, env=environment)


def report_of(runs: Sequence[Run], draw: Draw, budget: TrainingBudget) -> dict[str, Any]:
    """What the report says of runs, beside a row for each."""
    scores = by_method(runs)
    methods: dict[str, dict[str, Any]] = {
        method: {"seeds": [run.seed for run in runs if run.method == method], **found}
        for method, found in summaries(scores, draw).items()
    }
    for method, found in methods.items():
        rows = [run.row() for run in runs if run.method == method]
        found["examples"] = mean(row["examples"] for row in rows)
        found["seconds"] = round(mean(row["seconds"] for row in rows), 1)
        found["undisturbed s"] = min(row["undisturbed s"] for row in rows)
        found["peak MiB"] = max(row["peak MiB"] for row in rows)
    comparisons = [
        {"pair": [one, other], **difference(key, scores[one][key], scores[other][key], draw)}
        for one, other in PAIRS
        if one in scores and other in scores
        for key in KEYS
    ]
    return {
        "num_examples": len(runs[0].texts),
        "budget": budget.told,
        "hardware": hardware(),
        "methods": methods,
        "comparisons": comparisons,
        "peer": next((run.details for run in runs if run.details), None),
    }


def read_rows(file: str) -> list[dict[str, str]]:
    """The rows of a file of JSON lines."""
    with open(file, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = parser_of(__doc__)
    for name in ("train", "test", "output"):
        made.add_argument(name)
    made.add_argument("--budget", choices=BUDGETS, default="short", help="see seed_budgets.py")
    made.add_argument("--dev", default=None, help="development rows; --budget converged needs them")
    made.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    made.add_argument("--only", nargs="*", choices=METHODS, default=list(METHODS))
    made.add_argument("--model", default=None)
    made.add_argument("--commit", default=None, help="of runs that hold no note of it")
    made.add_argument("--num_bootstrap", type=int, default=Draw.num_bootstrap)
    made.add_argument("--markdown", type=Path, default=None, help="file with a part for the tables")
    made.add_argument("--examples", type=Path, default=None, help="page for example outputs")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Make what is asked for, then put together what is there."""
    given = parser().parse_args(argv)
    budget = BUDGETS[given.budget]
    if budget.looks and given.only and not given.dev:
        raise SystemExit(f"--budget {given.budget}: give --dev, which chooses among the weights")
    for seed in given.seeds:
        for method in given.only:
            make(method, seed, given)
    rows, trained = read_rows(given.test), read_rows(given.train)
    learned = {row["src"] for row in trained}
    references = [row["tgt"] for row in rows]
    runs = list(
        collect(
            Path(given.output),
            given.seeds,
            references,
            steps=budget.steps,
            batch=budget.batch,
            rows=len(trained),
            commit=given.commit,
        )
    )
    if not runs:
        raise SystemExit(f"{given.output}: there are no runs")
    report = report_of(runs, Draw(given.num_bootstrap), budget)
    report["num_learned"] = sum(row["src"] in learned for row in rows)
    report["command"] = shlex.join(["benchmarks/seeds.py", *_public(given)])
    table = [run.row() for run in runs]
    flags = [*budget.flags, *SAVING]
    write_report(budget.report, table, given.results, flags=flags, search=SEARCH, **report)
    if given.markdown:
        text = given.markdown.read_text(encoding="utf-8")
        content = tables({**report, "rows": table})
        write_whole(given.markdown, [replaced(text, budget.mark, content)])
    if given.examples:
        first = [run for run in runs if run.seed == given.seeds[0]]
        write_whole(given.examples, [examples(first, rows)])


def _public(given: argparse.Namespace) -> list[str]:
    """The arguments that decide what is measured, without the places of this machine."""
    files = [Path(each).name for each in (given.train, given.test)]
    budget = [] if given.budget == "short" else ["--budget", given.budget, "--dev", "dev.jsonl"]
    return [*files, "OUTPUT", *budget, "--seeds", *map(str, given.seeds)]


if __name__ == "__main__":
    main()
