"""Decoding speed on one CPU thread: this toolkit against the manner of the original, transformers'
`generate` and CTranslate2.

    python benchmarks/decode_speed.py --model CHECKPOINT [--beams 1 5] [--rounds N]
    python benchmarks/decode_speed.py --model CHECKPOINT --ladder
    python benchmarks/decode_speed.py --model CHECKPOINT --scaling

Two tables a beam size. Natural length: the checkpoint's own outputs, ours and the original's way,
with the share of outputs that are the very same tokens as ours in float32 and ROUGE beside the
speed; all others have the batch that suits them. Forced length: every output has the same
number of tokens, so that models with other (random) weights can be compared. --ladder goes from the
original's way to ours, one technique a row; --scaling shows how cost grows with source, target,
beam and batch.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import SAMPLE, parser_of
from benchmarks.decode_case import Case
from benchmarks.decode_rows import OTHERS_BATCH, Contestants, forced, ladder, natural, ours, plain
from benchmarks.rounds import Row, measure, ratio, write_report
from benchmarks.train_speed import default_model
from s2s_ft.data.examples import read_examples
from s2s_ft.decode.wishes import BATCH_SIZES, GREEDY_BATCH_SIZES
from s2s_ft.text import TextCodec

REFERENCE = "ours fp32"

SCALES = {"source": (32, 64, 128, 256), "steps": (8, 16, 32, 64), "beams": (1, 2, 5, 10)}
BATCHES = (1, 4, 16, 64)


def table(rows: list[Row], case: Case, reference: str) -> list[dict[str, Any]]:
    """One line a contestant; the first one is what the others are compared with."""
    exact = next((row.figures["found"] for row in rows if row.name == reference), None)
    lines = []
    for row in rows:
        line: dict[str, Any] = {
            "length": case.steps if case.forced else "natural",
            "contestant": row.name,
            "beams": case.beams,
            "examples/s": round(row.rate, 2),
            "times first": round(ratio(row, rows[0]), 2),
            "peak MiB": round(row.peak_mib),
        }
        found = row.figures["found"]
        if found is not None and exact is not None and not case.forced:
            same = [one[1] == other[1] for one, other in zip(found, exact, strict=True)]
            line["% same tokens"] = round(100 * sum(same) / len(same), 1)
            line["ROUGE-1/2/L"] = " ".join(f"{value:.2f}" for value in rouge(found, case))
        lines.append(line)
    return lines


def rouge(found: list[tuple[bytes, list[int], str]], case: Case) -> list[float]:
    """ROUGE of the texts against the file's targets."""
    from s2s_ft.evaluation.options import ScoringOptions
    from s2s_ft.evaluation.run import evaluate

    codec = TextCodec.load(case.model)
    rows = list(read_examples(Path(case.data), limit=case.examples))
    unsorted = case.sources(codec, longest_first=False)
    order = sorted(range(len(rows)), key=lambda row: unsorted[row].tobytes())
    references = [str(rows[row].target) for row in order]
    texts = [text for _, _, text in found]
    report = evaluate(texts, references, ScoringOptions(num_bootstrap=1))
    return [report.value(name) for name in ("rouge1", "rouge2", "rougeL")]


def compare(case: Case, rounds: int) -> list[dict[str, Any]]:
    """Both tables of one beam size."""
    free = measure(natural(case), rounds)
    lines = table(free, case, REFERENCE)
    fixed = replace(case, forced=True, steps=20)
    return lines + table(measure(forced(fixed), rounds), fixed, REFERENCE)


def scaling(case: Case, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds an example, ours and the original's way, along each axis."""
    middle = replace(case, forced=True, source_exactly=True, source=128, steps=16, examples=16)
    cases: list[tuple[str, int, Case]] = []
    for axis, sizes in SCALES.items():
        for size in sizes:
            changed: dict[str, Any] = {axis: size}
            cases.append((axis, size, replace(middle, **changed)))
    cases += [
        ("batch", size, replace(middle, batch=size, examples=max(16, size))) for size in BATCHES
    ]
    lines = []
    for axis, size, one in cases:
        contestants: Contestants = {
            "original": partial(plain, one),
            "ours": partial(ours, one),
        }
        original, mine = measure(contestants, rounds)
        lines.append(
            {
                "axis": axis,
                "size": size,
                "original ms/example": round(1000 / original.rate, 1),
                "ours ms/example": round(1000 / mine.rate, 1),
                "times": round(ratio(mine, original), 2),
                "original MiB": round(original.peak_mib),
                "ours MiB": round(mine.peak_mib),
            }
        )
    return lines


def main() -> None:
    """Measure and write the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", default=None, help="a fine-tuned checkpoint")
    parser.add_argument("--data", default=str(SAMPLE / "dev.jsonl.gz"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--batch", type=int, default=None, help="as decode_seq2seq.py unless given")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--ladder", action="store_true")
    parser.add_argument("--scaling", action="store_true")
    given = parser.parse_args()
    batch = given.batch or BATCH_SIZES["cpu"]
    greedy = given.batch or GREEDY_BATCH_SIZES["cpu"]
    case = Case(given.model or default_model(), given.data, given.examples, batch)
    facts: dict[str, Any] = {
        "model": Path(case.model).name,
        "examples": case.examples,
        "batch": {"one beam": greedy, "beams": batch, "others": min(batch, OTHERS_BATCH)},
    }
    if given.scaling:
        case = replace(case, batch=given.batch or OTHERS_BATCH)
        facts["batch"] = case.batch
        write_report("decode_scaling", scaling(case, given.rounds), given.results, **facts)
    elif given.ladder:
        case = replace(case, beams=given.beams[-1], batch=given.batch or OTHERS_BATCH)
        facts["batch"] = case.batch
        rows = table(measure(ladder(case), given.rounds), case, "original's way")
        write_report("decode_ladder", rows, given.results, **facts)
    else:
        lines = [
            line
            for beams in given.beams
            for line in compare(
                replace(case, beams=beams, batch=batch if beams > 1 else greedy), given.rounds
            )
        ]
        write_report("decode_speed", lines, given.results, **facts)


if __name__ == "__main__":
    main()
