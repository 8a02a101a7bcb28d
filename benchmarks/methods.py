"""The three methods at equal budget, and what adapters, layer-wise rates and the start of a fresh
head change: held-out loss and ROUGE over time.

    python benchmarks/methods.py TRAIN.jsonl DEV.jsonl OUTPUT [--only NAME …] [--epochs N]

Notable: every row is a run of `run_seq2seq.py` with the same data, order, rate and number of
updates; where it was stopped, the same command goes on. The looks that are there are put together
in `results/methods.json`, of unfinished runs, too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import ROOT, parser_of
from benchmarks.rounds import write_report
from benchmarks.train_speed import default_model

PSEUDO = ["--fine_tuning_method", "pseudo_mask", "--target_mask_prob", "0"]
SHORT = ["--num_training_steps", "188", "--num_warmup_steps", "50"]
CAUSAL = ["--fine_tuning_method", "causal", "--target_mask_prob", "0"]
MASKED = ["--fine_tuning_method", "masked", "--target_mask_prob", "0.5"]
LONG = ["--num_training_epochs", "3", "--dropout", "0.1", "--eval_steps", "376"]
RUNS = {
    "causal": CAUSAL,
    "masked": MASKED,
    "pseudo_mask": PSEUDO,
    "l_causal": [*CAUSAL, *LONG],
    "l_masked": [*MASKED, *LONG],
    "l_pseudo_mask": [*PSEUDO, *LONG],
    "l_pseudo_mask_drop": [*PSEUDO, *LONG, "--target_mask_prob", "0.15"],
    "s_base": [*PSEUDO, *SHORT],
    "s_random": [*PSEUDO, *SHORT, "--fresh_head", "random"],
    "s_lora": [*PSEUDO, *SHORT, "--peft", "lora", "--lora_rank", "16", "--learning_rate", "2e-3"],
    "s_decay": [*PSEUDO, *SHORT, "--layer_decay", "0.8"],
}
"""What distinguishes the runs; s_ is for an eighth of an epoch, l_ for three epochs."""

COMMON = (
    *("--per_gpu_train_batch_size", "16"),
    *("--learning_rate", "4e-4"),
    *("--num_warmup_steps", "200"),
    *("--max_source_seq_length", "160"),
    *("--max_target_seq_length", "32"),
    *("--dropout", "0"),
    "--bf16",
    *("--num_dev_examples", "200"),
    *("--eval_steps", "188"),
    *("--eval_beam_size", "5"),
    *("--eval_length_penalty", "1.0"),
    *("--eval_metric", "rougeL"),
    *("--save_steps", "188"),
    *("--keep_checkpoints", "2"),
    *("--logging_steps", "94"),
)
FIGURES = {"dev_loss": "loss", "dev_rouge1": "R1", "dev_rouge2": "R2", "dev_rougeL": "RL"}


def run(name: str, arguments: argparse.Namespace) -> None:
    """Train one of the runs, or go on with it."""
    data = ["--train_file", arguments.train, "--dev_file", arguments.dev]
    length = ["--num_training_epochs", str(arguments.epochs)]
    model = ["--model_name_or_path", arguments.model or default_model()]
    output = ["--output_dir", str(Path(arguments.output) / name)]
    subprocess.run(
        [sys.executable, str(ROOT / "run_seq2seq.py"), *data, *model, *output, *COMMON, *length]
        + RUNS[name],
        check=True,
    )


def looks(folder: Path) -> list[dict[str, Any]]:
    """The looks of a run, with the figures that are compared."""
    file = folder / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = [row for row in map(json.loads, lines) if row["kind"] == "look"]
    return [
        {"step": row["step"], **{ours: round(row[key], 3) for key, ours in FIGURES.items()}}
        for row in rows
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is asked for, then write the table."""
    parser = parser_of(__doc__)
    for name in ("train", "dev", "output"):
        parser.add_argument(name)
    parser.add_argument("--only", nargs="*", choices=RUNS, default=list(RUNS))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--model", default=None)
    arguments = parser.parse_args(argv)
    for name in arguments.only:
        run(name, arguments)
    table = [
        {"run": name, **look} for name in RUNS for look in looks(Path(arguments.output) / name)
    ]
    if not table:
        raise SystemExit(f"{arguments.output}: no run has looked at the held-out rows yet")
    write_report(
        "methods",
        table,
        arguments.results,
        common=" ".join(COMMON),
        runs=RUNS,
        epochs=arguments.epochs,
    )


if __name__ == "__main__":
    main()
