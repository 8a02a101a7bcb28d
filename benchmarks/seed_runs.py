"""The runs of `seeds.py` as they lie on the disk, and their scores example by example.

OUTPUT/<method>-<seed>/model/           what training wrote
OUTPUT/<method>-<seed>/test.jsonl       what was decoded of the whole test set: the run is there
OUTPUT/<method>-<seed>/run.json         of bert2bert.py: seconds, examples and memory
OUTPUT/<method>-<seed>/commit           the code that made it, if it was noted
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.seed_scores import Scores
from s2s_ft.data.batches import steps_per_epoch
from s2s_ft.evaluation.inputs import read_predictions
from s2s_ft.evaluation.rouge import rouge_scores
from s2s_ft.train.lines import METRICS, TRAIN, read_lines

METHODS = ("causal", "masked", "pseudo_mask")
PEER = "bert2bert"
KEYS = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class Run:
    """A method with a seed.

    Attributes:
        method: One of `METHODS`, or `PEER`.
        seed: Of training.
        texts: What it wrote, a text a test row.
        scores: [N] of each of `KEYS`, F1 from 0 to 1.
        figures: `seconds` of training, `examples` seen and `peak_memory_bytes`; of a run that was
            timed by the clock also `undisturbed`, its seconds had all gone as fast as the fastest
            updates between two lines of its log.
        commit: Of the code; None where it was not noted.
        details: Of `PEER`: all that its `run.json` holds.
    """

    method: str
    seed: int
    texts: Sequence[str]
    scores: dict[str, Scores]
    figures: dict[str, Any]
    commit: str | None
    details: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The run as a row of the report."""
        return {
            "method": self.method,
            "seed": self.seed,
            **{key: round(float(self.scores[key].mean()) * 100, 3) for key in KEYS},
            "seconds": round(self.figures["seconds"], 1),
            "undisturbed s": round(self.figures.get("undisturbed", self.figures["seconds"]), 1),
            "examples": int(self.figures["examples"]),
            "peak MiB": round(self.figures["peak_memory_bytes"] / 2**20),
            "commit": self.commit,
        }


def folder_of(output: Path, method: str, seed: int) -> Path:
    """Where a run lies."""
    return output / f"{method}-{seed}"


def collect(
    output: Path,
    seeds: Sequence[int],
    references: Sequence[str],
    *,
    steps: int,
    batch: int,
    rows: int,
    commit: str | None = None,
) -> Iterator[Run]:
    """The runs that are there, by method, then by seed.

    Args:
        output: Folder of all runs.
        seeds: Those that count.
        references: A text a test row.
        steps: Updates that a run takes.
        batch: Examples in an update.
        rows: Of training.
        commit: Of runs that hold no note of it.

    Raises:
        SystemExit: A run was not trained to its end, or not decoded over all of the test set.
    """
    for method in (*METHODS, PEER):
        for seed in seeds:
            folder = folder_of(output, method, seed)
            decoded = folder / "test.jsonl"
            if not decoded.exists():
                continue
            texts = read_predictions(str(decoded))
            if len(texts) != len(references):
                raise SystemExit(f"{decoded}: {len(texts)} rows for {len(references)} references")
            found = rouge_scores(texts, references)
            scores = {key: np.asarray(found[key]) for key in KEYS}
            own = folder / "run.json"
            details = json.loads(own.read_text(encoding="utf-8")) if own.exists() else {}
            metrics, examples = folder / "model" / METRICS, examples_seen(steps, batch, rows)
            figures = details or _figures(metrics, steps, examples)
            noted = noted_commit(folder) or commit
            yield Run(method, seed, texts, scores, figures, noted, details)


def noted_commit(folder: Path) -> str | None:
    """What the note beside a run says of its code."""
    note = folder / "commit"
    return note.read_text(encoding="utf-8").strip() if note.exists() else None


def by_method(runs: Sequence[Run]) -> dict[str, dict[str, Scores]]:
    """The scores [K, N] by method and score, a row a seed."""
    return {
        method: {key: np.stack([run.scores[key] for run in those]) for key in KEYS}
        for method in dict.fromkeys(run.method for run in runs)
        if (those := [run for run in runs if run.method == method])
    }


def examples_seen(updates: int, batch: int, rows: int) -> int:
    """Examples in a number of updates; the last update of an epoch has what is left of its rows.

    Args:
        updates: How many.
        batch: Examples in each, but for those.
        rows: Of training.
    """
    epochs, rest = divmod(updates, steps_per_epoch(rows, batch))
    return epochs * rows + rest * batch


def _figures(file: Path, steps: int, examples: int) -> dict[str, float]:
    """What training took, of its own account of it."""
    lines = [line for line in read_lines(file) if line["kind"] == TRAIN]
    if not lines or lines[-1]["step"] != steps:
        raise SystemExit(f"{file}: it does not tell of {steps} updates")
    ends = [line["step"] for line in lines]
    updates = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    paces = [line["seconds"] / number for line, number in zip(lines, updates, strict=True)]
    return {
        # The seconds of a line are those since the line before, saves and looks left out.
        "seconds": sum(line["seconds"] for line in lines),
        "undisturbed": steps * min(paces),
        "examples": examples,
        "peak_memory_bytes": max(line["peak_memory_bytes"] for line in lines),
    }
