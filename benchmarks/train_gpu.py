"""Training speed on a GPU against the same model trained the plain way, one technique a row.

    python benchmarks/train_gpu.py [--model FOLDER] [--rounds N] [--tiny]

BERT-base, pseudo-masked, bfloat16, at the lengths of XSum (464/48) and CNN/DailyMail (608/160).
Contestants are told in `gpu_rows.py`. Each speed row has a correctness row beside it: `loss` is the
mean loss of the first batches at equal weights, without dropout. `MFU` is the arithmetic of the
true tokens (forward once, backward twice, the last layer whole) over what this GPU reaches in the
same rounds on square bfloat16 products. `waits` counts how often the host waits for the GPU in an
update.

Without a GPU only `--tiny` runs: it tries everything on a model of no size, and its figures say
nothing of a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import parser_of
from benchmarks.gpu_rows import TECHNIQUES, Setting, contestant, product_peak
from benchmarks.rounds import Round, Row, measure, ratio, write_report

SETTINGS = {
    "464/48": Setting(464, 48, typical=(400, 26), batch=64),
    "608/160": Setting(608, 160, typical=(620, 62), batch=32),
}
TINY = Setting(
    14,
    6,
    typical=(9, 3),
    batch=4,
    warm_up=2,
    timed=3,
    config=(
        ("vocab_size", 60),
        ("hidden_size", 32),
        ("num_hidden_layers", 2),
        ("num_attention_heads", 4),
        ("intermediate_size", 48),
        ("max_position_embeddings", 32),
    ),
)
PEAK = "products bf16"


def contestants(setting: Setting, *, compiled: bool) -> dict[str, Callable[[], Round]]:
    """What trains, by name; the first one is what the others are compared with."""
    rungs = TECHNIQUES if compiled else TECHNIQUES[:-1]
    ladder = {f"+ {name}": n for n, name in enumerate(rungs, start=1)}
    return {
        "plain": partial(contestant, setting, level=0),
        **{name: partial(contestant, setting, level=n) for name, n in ladder.items()},
    }


def table_row(lengths: str, row: Row, rows: dict[str, Row]) -> dict[str, Any]:
    """The figures of a contestant, beside the plain one and the peak of the device."""
    figures = row.figures
    return {
        "lengths": lengths,
        "contestant": row.name,
        "examples/s": round(row.rate, 2),
        "target tokens/s": round(row.rate * figures["supervised"] / figures["examples"], 1),
        "times plain": round(ratio(row, rows["plain"]), 2),
        "MFU": round(figures["gigaflop"] / figures["examples"] * ratio(row, rows[PEAK]), 3),
        "loss": round(figures["loss"], 4),
        "padding": round(1 - figures["tokens"] / figures["cells"], 3),
        "peak GPU MiB": _number(figures["gpu_peak_mib"], 0),
        "waits": _number(figures["waits"], 1),
    }


def device_facts() -> dict[str, Any]:
    """What the figures were measured on, without a doubt about what it is."""
    if torch.cuda.is_available():
        return {"device": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return {"device": "CPU: a trial, these figures say nothing of a GPU"}


def main(argv: list[str] | None = None) -> None:
    """Measure and write the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", default=None, help="folder of a BERT encoder; else random")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--no_compile", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args(argv)
    if not (torch.cuda.is_available() or arguments.tiny):
        raise SystemExit("there is no CUDA device; --tiny tries the benchmark on a CPU")
    settings = {"14/6": TINY} if arguments.tiny else SETTINGS
    peak = partial(product_peak, 128 if arguments.tiny else 8192)
    table, peaks = [], {}
    for lengths, setting in settings.items():
        given = replace(setting, model=arguments.model, dropout=arguments.dropout)
        trained = contestants(given, compiled=not arguments.no_compile)
        rows = {row.name: row for row in measure({**trained, PEAK: peak}, arguments.rounds)}
        table += [table_row(lengths, rows[name], rows) for name in trained]
        peaks[lengths] = round(rows[PEAK].rate / 1e3, 2)
    write_report(
        "train_gpu_tiny" if arguments.tiny else "train_gpu",
        table,
        arguments.results,
        **device_facts(),
        method="pseudo_mask",
        precision="bfloat16",
        dropout=arguments.dropout,
        model=arguments.model or "random weights",
        batch={lengths: setting.batch for lengths, setting in settings.items()},
        teraflops=peaks,
    )


def _number(value: float, digits: int) -> float | None:
    """A figure as JSON can hold it."""
    return None if value != value else round(value, digits)


if __name__ == "__main__":
    main()
