"""Building blocks of a page that is one file: no script, font, image or style from elsewhere.

Notable: whatever comes from a file or a command line goes through `escape`. The page forbids itself
to load anything (its Content-Security-Policy), follows the reader's choice of light or dark, and
prints.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f6f3; --card: #ffffff; --ink: #16181d; --soft: #5b616e; --grid: #e4e5e1;
  --edge: #dcddd8; --accent: #2a67c4; --good: #1d7a4c; --warn: #a35a00; --given: #eef3fb;
  --c0: #2a67c4; --c1: #0f8a6a; --c2: #b26a00; --c3: #6a4fc0; --c4: #b8407d; }
@media (prefers-color-scheme: dark) { :root {
  --page: #121418; --card: #1a1d23; --ink: #e9eaed; --soft: #a2a8b4; --grid: #2b2f37;
  --edge: #2f343d; --accent: #7aa7ee; --good: #5cc592; --warn: #e3a550; --given: #202a3a;
  --c0: #7aa7ee; --c1: #45bf98; --c2: #dd9f42; --c3: #a893f0; --c4: #e283b2; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 12px; }
h3 { font-size: 15px; margin: 0 0 8px; }
p { margin: 0 0 8px; max-width: 78ch; }
code { font: 0.92em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.soft, .note { color: var(--soft); }
.note { font-size: 13px; margin: 6px 0 0; }
.state { font-weight: 600; }
.state.done { color: var(--good); }
.state.open { color: var(--warn); }
progress { width: 100%; height: 6px; margin: 12px 0 0; accent-color: var(--accent); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(144px, 1fr)); gap: 12px;
  margin: 20px 0 0; padding: 0; }
.tiles > div, figure, .card { background: var(--card); border: 1px solid var(--edge);
  border-radius: 10px; padding: 14px 16px; }
.tiles > div { padding: 12px 14px; }
.tiles dt { color: var(--soft); font-size: 13px; }
.tiles dd { margin: 2px 0 0; font-size: 20px; font-weight: 600; line-height: 1.3;
  white-space: nowrap; }
.tiles dd small { display: block; font-size: 13px; font-weight: 400; color: var(--soft);
  white-space: normal; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr));
  gap: 14px; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; margin-bottom: 6px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-size: 12px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .y { text-anchor: end; } svg .x, svg .mid { text-anchor: middle; }
svg .name { fill: var(--ink); }
.grid { stroke: var(--grid); } .axis { stroke: var(--soft); }
.resumed { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 2 4; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); }
.c3 { --c: var(--c3); } .c4 { --c: var(--c4); }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round;
  stroke-linecap: round; }
.thin { stroke-width: 1; }
.band { fill: var(--c); opacity: 0.18; }
.dot { fill: var(--c); }
.spot { fill: var(--c); opacity: 0; } .spot:hover { opacity: 0.45; }
.best { fill: var(--card); fill-opacity: 0.01; stroke: var(--ink); stroke-width: 1.5; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--grid);
  vertical-align: top; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-size: 13px; font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 400; white-space: nowrap; width: 1%; }
tr:last-child > * { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; }
tr.marked > * { background: var(--given); font-weight: 600; }
.card + .card, .card + details, details + details { margin-top: 12px; }
summary { cursor: pointer; font-weight: 600; }
details > *:not(summary) { margin-top: 10px; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: 92px 1fr; gap: 2px 12px; margin-bottom: 10px; }
.pair dt { color: var(--soft); } .pair dd { margin: 0; }
.groups { columns: 2 440px; column-gap: 14px; }
.groups .card { break-inside: avoid; margin: 0 0 14px; }
@media print { body { background: none; } main { padding: 0; }
  figure, .tiles > div { break-inside: avoid; } }
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def escape(value: object) -> str:
    """Any value as text of a page or of a quoted attribute."""
    return html.escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(value)), quote=True)


def page(title: str, body: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: Plain text.
        body: Parts that are HTML already.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def tiles(entries: Iterable[tuple[str, str, str]]) -> str:
    """Key numbers side by side: what, its value, and a remark."""
    cells = [
        f"<div><dt>{escape(what)}</dt><dd>{escape(value)}"
        + (f"<small>{escape(remark)}</small>" if remark else "")
        + "</dd></div>"
        for what, value, remark in entries
    ]
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers_from: int | None = None,
    marked: Iterable[int] = (),
) -> str:
    """A table; the first cell of each row names it.

    Args:
        head: Titles of the columns.
        rows: Cells, plain text.
        numbers_from: First column that holds numbers, which are set to the right.
        marked: Rows that stand out, counted from 0.
    """
    start = len(head) if numbers_from is None else numbers_from

    def cell(tag: str, column: int, value: object, scope: str = "") -> str:
        kind = ' class="number"' if column >= start else ' dir="auto"'
        return f"<{tag}{scope}{kind}>{escape(value)}</{tag}>"

    titles = "".join(cell("th", at, each, ' scope="col"') for at, each in enumerate(head))
    stand_out = set(marked)
    lines = []
    for number, row in enumerate(rows):
        cells = [cell("th", 0, row[0], ' scope="row"')]
        cells += [cell("td", column, value) for column, value in enumerate(row[1:], start=1)]
        kind = ' class="marked"' if number in stand_out else ""
        lines.append(f"<tr{kind}>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def texts(entries: Iterable[tuple[str, str]]) -> str:
    """Longer texts, each with its name beside it."""
    parts = [
        f'<dt>{escape(name)}</dt><dd class="text" dir="auto">{escape(text)}</dd>'
        for name, text in entries
    ]
    return f'<dl class="pair">{"".join(parts)}</dl>'


def folded(summary: str, content: str) -> str:
    """Content that opens on demand."""
    return f'<details class="card"><summary>{escape(summary)}</summary>{content}</details>'
