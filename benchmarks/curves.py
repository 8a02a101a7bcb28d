"""Figures of the documentation, drawn of what the benchmarks wrote.

    python benchmarks/curves.py [--results FOLDER] [--folder FOLDER]

    docs/figures/debsum-methods.svg          held-out loss and ROUGE-L over updates, one epoch
    docs/figures/debsum-methods-long.svg     the same over three (both of results/methods.json)
    docs/figures/debsum-seeds.svg            results/seeds.json: mean with interval, a dot a seed
    docs/figures/debsum-seeds-converged.svg  results/seeds_converged.json

Notable: the curves are those of the training report (`s2s_ft/train/report/charts.py`), given a
style of their own, since a picture in a page has no access to the page's. Both stand on white, so
that they can be read on a dark page, too. A figure whose results are not there is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command_line import RESULTS, ROOT
from benchmarks.seed_runs import KEYS, METHODS
from benchmarks.seed_tables import TITLES
from s2s_ft.storage.output_file import write_whole
from s2s_ft.train.report.axes import tick_label, ticks
from s2s_ft.train.report.charts import HEIGHT, WIDTH, Chart, Curve, draw
from s2s_ft.train.report.page import escape

COLOURS = ("#2a67c4", "#0f8a6a", "#b26a00", "#6a4fc0")
INK, SOFT, GRID = "#16181d", "#5b616e", "#e4e5e1"
FONT = 'font-family="Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"'
STYLE = (
    f"text {{ font-size: 12px; fill: {SOFT}; }} .y {{ text-anchor: end; }} "
    f".x, .mid {{ text-anchor: middle; }} .name, .title {{ fill: {INK}; }} "
    f".title {{ font-size: 14px; font-weight: bold; }} .value {{ text-anchor: start; }} "
    f".grid {{ stroke: {GRID}; }} .axis {{ stroke: {SOFT}; }} "
    ".line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; } "
    ".thin { stroke-width: 1; } .spot { opacity: 0; } "
    ".hollow { fill: #ffffff; stroke-width: 1.5; } "
) + " ".join(
    f".c{number} .line, .c{number}.line, .c{number} .hollow {{ stroke: {colour}; }} "
    f".c{number} .dot {{ fill: {colour}; }}"
    for number, colour in enumerate(COLOURS)
)

GAP, MARGIN, HEAD = 44, 16, 34
"""Between panels, around all, and for a title above a panel."""

LOOKS = (
    ("loss", "Held-out loss", "nats per target token"),
    ("RL", "Held-out ROUGE-L", "F1, 0 to 100"),
)

PANEL, NAMES, ROW, FOOT = 300, 96, 46, 26
"""Of the seeds: width of a panel and of the names, height of a method and of the axis."""


def picture(width: float, height: float, words: str, parts: Sequence[str]) -> str:
    """A whole SVG file.

    Args:
        width: In the drawing's units.
        height: Likewise.
        words: What it shows, for those who cannot see it.
        parts: Of the drawing.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-label="{escape(words)}" {FONT}>\n'
        f'<style>{STYLE}</style>\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def of_methods(rows: Sequence[Mapping[str, Any]], note: str = "", prefix: str = "") -> str:
    """The looks of the methods at equal budget: loss and ROUGE-L, side by side.

    Args:
        rows: Of `methods.json`: `run`, `step`, and the scores of `LOOKS`.
        note: A line below.
        prefix: What a run's name has before its method: `l_` for the long ones.
    """
    parts = []
    runs = {name: [row for row in rows if row["run"] == prefix + name] for name in METHODS}
    total = max(row["step"] for each in runs.values() for row in each)
    for number, (key, title, unit) in enumerate(LOOKS):
        curves = [
            Curve(name, [(row["step"], row[key]) for row in each]) for name, each in runs.items()
        ]
        chart = Chart(title=title, unit=unit, curves=curves, total=total)
        x = MARGIN + number * (WIDTH + GAP)
        parts.append(f'<text class="title" x="{x}" y="{MARGIN + 14}">{escape(title)}</text>')
        parts.append(_panel(draw(chart), x, MARGIN + HEAD - 6))
    height = MARGIN + HEAD + HEIGHT + MARGIN
    parts.append(f'<text x="{MARGIN}" y="{height}">{escape(note)}</text>')
    width = 2 * MARGIN + len(LOOKS) * (WIDTH + GAP)  # names of curves stand out on the right
    words = f"Held-out loss and ROUGE-L over updates of {', '.join(METHODS)}"
    return picture(width, height + MARGIN, words, parts)


def _panel(figure: str, x: float, y: float) -> str:
    """The drawing inside a figure of a page, at a place."""
    start, end = figure.index("<svg"), figure.index("</svg>")
    place = f'<svg x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" overflow="visible"'
    return place + figure[start + len("<svg") : end] + "</svg>"


def of_seeds(report: Mapping[str, Any]) -> str:
    """Each method's mean with its interval and its seeds, a panel a score.

    Args:
        report: As `seeds.json` holds it.
    """
    methods: Mapping[str, Mapping[str, Any]] = report["methods"]
    parts = []
    for number, name in enumerate(methods):
        y = _row(number)
        parts.append(f'<text class="name" x="{MARGIN}" y="{y + 4:g}">{escape(name)}</text>')
    for number, key in enumerate(KEYS):
        x = MARGIN + NAMES + number * (PANEL + GAP)
        parts += _score(report, key, x)
    foot = _row(len(methods)) + FOOT
    parts.append(
        f'<text x="{MARGIN}" y="{foot:g}">Test set, {report["num_examples"]:,} rows. Filled: mean '
        "over seeds, with its 95 % interval (examples and seeds drawn). Hollow: one seed.</text>"
    )
    width = 2 * MARGIN + NAMES + len(KEYS) * PANEL + (len(KEYS) - 1) * GAP
    words = "; ".join(
        f"{name}: ROUGE-L {found['rougeL']['value']:.1f}" for name, found in methods.items()
    )
    return picture(width, foot + MARGIN, f"Mean over seeds with 95 % interval. {words}", parts)


def _row(number: int) -> float:
    """Where the line of a method lies."""
    return MARGIN + HEAD + ROW * (number + 0.5)


def _score(report: Mapping[str, Any], key: str, left: float) -> list[str]:
    """A panel: its axis, and a line for each method."""
    methods = report["methods"]
    seeds = {
        name: [row[key] for row in report["rows"] if row["method"] == name] for name in methods
    }
    shown = [value for each in seeds.values() for value in each]
    shown += [found[key][end] for found in methods.values() for end in ("low", "high")]
    marks = ticks(min(shown), max(shown))

    def place(value: float) -> float:
        return left + PANEL * (value - marks[0]) / (marks[-1] - marks[0])

    top, bottom = MARGIN + HEAD - 6, _row(len(methods)) - ROW / 2
    parts = [f'<text class="title" x="{left:g}" y="{MARGIN + 14}">{TITLES[key]}</text>']
    for mark in marks:
        x = place(mark)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom:g}"/>')
        label = tick_label(mark, marks[1] - marks[0])
        parts.append(f'<text class="x" x="{x:.1f}" y="{bottom + 16:g}">{label}</text>')
    for number, (name, found) in enumerate(methods.items()):
        parts += _method(found[key], seeds[name], place, number)
    return parts


def _method(
    found: Mapping[str, float], seeds: Sequence[float], place: Callable[[float], float], number: int
) -> list[str]:
    """Interval, mean and seeds of a method."""
    y = _row(number)
    low, middle, high = (place(found[part]) for part in ("low", "value", "high"))
    parts = [
        f'<g class="c{number % len(COLOURS)}">',
        f'<line class="line" x1="{low:.1f}" x2="{high:.1f}" y1="{y:g}" y2="{y:g}"/>',
        *(
            f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 5:g}" y2="{y + 5:g}"/>'
            for x in (low, high)
        ),
        f'<circle class="dot" cx="{middle:.1f}" cy="{y:g}" r="5"/>',
        *(
            f'<circle class="hollow" cx="{place(value):.1f}" cy="{y + 13:g}" r="3.5"/>'
            for value in seeds
        ),
        "</g>",
        f'<text class="mid" x="{middle:.1f}" y="{y - 10:g}">{found["value"]:.1f}</text>',
    ]
    return parts


def main(argv: Sequence[str] | None = None) -> None:
    """Draw what there are results for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "figures")
    given = parser.parse_args(argv)
    given.folder.mkdir(parents=True, exist_ok=True)
    for name, source, drawn in FIGURES:
        file, target = given.results / f"{source}.json", given.folder / f"debsum-{name}.svg"
        if not file.exists():
            print(f"{file} is not there: no {target.name}")
            continue
        write_whole(target, [drawn(json.loads(file.read_text(encoding="utf-8")))])
        print(f"written to {target}")


def _methods_picture(report: Mapping[str, Any]) -> str:
    note = "200 development rows, beam 5; batch 16, rate 4e-4, one pass over DebSum English."
    return of_methods(report["rows"], note)


def _long_picture(report: Mapping[str, Any]) -> str:
    note = (
        "200 development rows, beam 5; batch 16, rate 4e-4, dropout 0.1, three passes over DebSum "
        "English."
    )
    return of_methods(report["rows"], note, "l_")


FIGURES: Sequence[tuple[str, str, Callable[[Mapping[str, Any]], str]]] = (
    ("methods", "methods", _methods_picture),
    ("methods-long", "methods", _long_picture),
    ("seeds", "seeds", of_seeds),
    ("seeds-converged", "seeds_converged", of_seeds),
)
"""Name of a figure, results that it is drawn of, and how."""


if __name__ == "__main__":
    main()
