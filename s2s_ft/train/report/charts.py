"""Curves as inline SVG: drawn without any script, readable in light and dark.

    title                               each point tells its numbers where the pointer rests on it
    unit
     4 |--·                             a run of more points than fit is drawn as means over equal
     2 |----·--·--(best)                numbers of them, with a band from their lowest to highest
     0 +-----------> update             a dotted upright line: the run was stopped and went on here

Notable: a value that is missing or no number breaks the line. Colours come from the page's style
(classes c0, c1, …), and every curve has its name beside its end, so that colour is not all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from s2s_ft.train.report.axes import decades, tick_label, ticks, written
from s2s_ft.train.report.page import escape

WIDTH, HEIGHT = 540, 250
LEFT, TOP, BOTTOM = 52, 22, 40
RIGHT, RIGHT_OF_ONE = 76, 14
"""Room for the names at the ends of curves, and where there is but one curve."""

MOST_POINTS = 160
LABEL_DISTANCE = 14.0
"""Least distance of the names at the ends of curves, in the drawing's units."""


@dataclass(frozen=True)
class Curve:
    """One quantity over the updates.

    Attributes:
        name: As shown.
        points: Updates taken, ascending, and the value; None or not finite where there is none.
    """

    name: str
    points: Sequence[tuple[int, float | None]]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves that share their axes.

    Attributes:
        title: What is shown.
        unit: Of the upright axis.
        curves: At least one.
        total: Updates of the whole run: where the lower axis ends.
        from_zero: Whether the upright axis must hold 0.
        steep: Whether a logarithmic axis is taken where the values differ by very much.
        best: Update to mark, with its value on each curve that has one there.
        resumed: Updates after which the run went on.
        note: A sentence below.
    """

    title: str
    unit: str
    curves: Sequence[Curve]
    total: int
    from_zero: bool = False
    steep: bool = False
    best: int | None = None
    resumed: Sequence[int] = ()
    note: str = ""

    @property
    def end(self) -> float:
        """Where the lower axis ends in the drawing."""
        return WIDTH - (RIGHT if len(self.curves) > 1 else RIGHT_OF_ONE)


@dataclass(frozen=True)
class _Dot:
    """A point as drawn: a value, or the mean, lowest and highest of several."""

    first: int
    last: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class _Frame:
    """Where values lie in the drawing."""

    x: Callable[[float], float]
    y: Callable[[float], float]
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    is_logarithmic: bool


def draw(chart: Chart) -> str:
    """A chart as a `<figure>`; in words where there is nothing to draw."""
    runs = [_runs(curve) for curve in chart.curves]
    values = [dot for parts in runs for part in parts for dot in part]
    head = f"<figcaption>{escape(chart.title)}</figcaption>"
    if not values:
        return f'<figure>{head}<p class="note">No numbers yet.</p></figure>'
    frame = _frame(chart, values)
    drawing = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_in_words(chart))}">',
        *_axes(chart, frame),
        *_resumptions(chart, frame),
    ]
    for number, (curve, parts) in enumerate(zip(chart.curves, runs, strict=True)):
        drawing.append(f'<g class="c{number}">')
        drawing.extend(_curve(curve, parts, frame))
        drawing.extend(_best(chart, curve, frame))
        drawing.append("</g>")
    if len(chart.curves) > 1:
        drawing.extend(_names(chart, runs, frame))
    drawing.append("</svg>")
    note = f'<p class="note">{escape(note)}</p>' if (note := _note(chart)) else ""
    return f"<figure>{head}{''.join(drawing)}{note}</figure>"


def _runs(curve: Curve) -> list[list[_Dot]]:
    """The dots of a curve, parted where values are missing."""
    size = max(1, math.ceil(len(curve.points) / MOST_POINTS))
    parts: list[list[_Dot]] = [[]]
    for start in range(0, len(curve.points), size):
        chunk = curve.points[start : start + size]
        found = [value for _, value in chunk if value is not None and math.isfinite(value)]
        if found:
            mean = math.fsum(found) / len(found)
            parts[-1].append(_Dot(chunk[0][0], chunk[-1][0], mean, min(found), max(found)))
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]


def _frame(chart: Chart, dots: Sequence[_Dot]) -> _Frame:
    """Axes that hold every dot."""
    low, high = min(dot.low for dot in dots), max(dot.high for dot in dots)
    middle = sorted(dot.value for dot in dots)[len(dots) // 2]
    is_logarithmic = chart.steep and low > 1e-300 and high > 20 * middle
    if is_logarithmic:
        y_ticks = decades(low, high)
    else:
        y_ticks = ticks(min(0.0, low) if chart.from_zero else low, high)
    x_ticks = [each for each in ticks(0, max(chart.total, 1), whole=True) if each <= chart.total]
    right = max(chart.total, max(dot.last for dot in dots), 1)

    def scaled(value: float) -> float:
        return math.log10(value) if is_logarithmic else value

    bottom, top = scaled(y_ticks[0]), scaled(y_ticks[-1])
    return _Frame(
        x=lambda step: LEFT + (chart.end - LEFT) * step / right,
        y=lambda value: (
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (scaled(value) - bottom) / (top - bottom)
        ),
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        is_logarithmic=is_logarithmic,
    )


def _axes(chart: Chart, frame: _Frame) -> list[str]:
    """Grid lines, the numbers at them, and what they count."""
    parts = []
    step = frame.y_ticks[1] - frame.y_ticks[0]
    for tick in frame.y_ticks:
        y = frame.y(tick)
        label = written(tick) if frame.is_logarithmic else tick_label(tick, step)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{chart.end}" {_at(y1=y, y2=y)}/>')
        parts.append(f'<text class="y" {_at(x=LEFT - 8, y=y + 4)}>{label}</text>')
    foot = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{chart.end}" {_at(y1=foot, y2=foot)}/>')
    step = frame.x_ticks[1] - frame.x_ticks[0] if len(frame.x_ticks) > 1 else 1.0
    for tick in frame.x_ticks:
        x = frame.x(tick)
        parts.append(f'<line class="axis" {_at(x1=x, x2=x, y1=foot, y2=foot + 4)}/>')
        parts.append(f'<text class="x" {_at(x=x, y=foot + 17)}>{tick_label(tick, step)}</text>')
    scale = ", logarithmic" if frame.is_logarithmic else ""
    parts.append(f'<text class="unit" x="{LEFT}" y="12">{escape(chart.unit)}{scale}</text>')
    middle = (LEFT + chart.end) / 2
    parts.append(f'<text class="unit mid" {_at(x=middle, y=HEIGHT - 6)}>updates</text>')
    return parts


def _resumptions(chart: Chart, frame: _Frame) -> list[str]:
    """An upright line where the run went on after a stop."""
    return [
        f'<line class="resumed" {_at(x1=frame.x(step), x2=frame.x(step))} y1="{TOP}" '
        f'y2="{HEIGHT - BOTTOM}"><title>went on after update {step:,}</title></line>'
        for step in sorted(set(chart.resumed))
    ]


def _curve(curve: Curve, parts: Sequence[Sequence[_Dot]], frame: _Frame) -> list[str]:
    """Band, line and the places that tell their numbers."""
    drawing = []
    for part in parts:
        if any(dot.high > dot.low for dot in part):
            edge = [(frame.x(dot.last), frame.y(dot.high)) for dot in part]
            edge += [(frame.x(dot.last), frame.y(dot.low)) for dot in reversed(part)]
            drawing.append(f'<polygon class="band" points="{_points(edge)}"/>')
        line = [(frame.x(dot.last), frame.y(dot.value)) for dot in part]
        if len(line) > 1:
            drawing.append(f'<polyline class="line" points="{_points(line)}"/>')
        radius = 3 if len(part) == 1 or len(curve.points) <= 40 else 0
        for (x, y), dot in zip(line, part, strict=True):
            title = f"<title>{escape(f'{curve.name}, {_told(dot)}')}</title>"
            if radius:
                drawing.append(f'<circle class="dot" {_at(cx=x, cy=y)} r="{radius}"/>')
            drawing.append(f'<circle class="spot" {_at(cx=x, cy=y)} r="8">{title}</circle>')
    return drawing


def _best(chart: Chart, curve: Curve, frame: _Frame) -> list[str]:
    """A ring around the best."""
    value = dict(curve.points).get(chart.best) if chart.best is not None else None
    if chart.best is None or value is None or not math.isfinite(value):
        return []
    title = escape(f"{curve.name}, best look, update {chart.best:,}: {written(value)}")
    place = _at(cx=frame.x(chart.best), cy=frame.y(value))
    return [f'<circle class="best" {place} r="6"><title>{title}</title></circle>']


def _names(chart: Chart, runs: Sequence[list[list[_Dot]]], frame: _Frame) -> list[str]:
    """The name of each curve beside its end, moved apart where they would meet."""
    ends = [
        (frame.y(parts[-1][-1].value), frame.x(parts[-1][-1].last), number)
        for number, parts in enumerate(runs)
        if parts
    ]
    drawing = []
    lowest = -math.inf
    # Those that would run out of the drawing below push the ones above up.
    room = HEIGHT - BOTTOM - LABEL_DISTANCE * (len(ends) - 1)
    for rank, (y, x, number) in enumerate(sorted(ends)):
        lowest = max(min(y, room + rank * LABEL_DISTANCE), lowest + LABEL_DISTANCE)
        name = escape(chart.curves[number].name)
        drawing.append(
            f'<line class="line thin c{number}" {_at(x1=x + 5, x2=x + 12, y1=y, y2=lowest)}/>'
            f'<text class="name" {_at(x=x + 15, y=lowest + 4)}>{name}</text>'
        )
    return drawing


def _told(dot: _Dot) -> str:
    """The numbers of a dot in words."""
    if dot.first == dot.last:
        return f"update {dot.last:,}: {written(dot.value)}"
    return (
        f"updates {dot.first:,} to {dot.last:,}: mean {written(dot.value)}, "
        f"from {written(dot.low)} to {written(dot.high)}"
    )


def _in_words(chart: Chart) -> str:
    """A chart for those who cannot see it."""
    parts = []
    for curve in chart.curves:
        known = [
            (step, each) for step, each in curve.points if each is not None and math.isfinite(each)
        ]
        if known:
            (start, first), (end, last) = known[0], known[-1]
            parts.append(
                f"{curve.name}: {written(first)} at update {start:,}, "
                f"{written(last)} at update {end:,}"
            )
    return f"{chart.title} ({chart.unit}). " + "; ".join(parts)


def _note(chart: Chart) -> str:
    """The sentence below, and what a reader must know about the drawing."""
    longest = max(len(curve.points) for curve in chart.curves)
    parts = [chart.note] if chart.note else []
    if longest > MOST_POINTS:
        parts.append(
            f"Each point is the mean of {math.ceil(longest / MOST_POINTS)} lines of metrics.jsonl; "
            "the band reaches from the lowest to the highest of them."
        )
    return " ".join(parts)


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _at(**places: float) -> str:
    """Attributes of coordinates."""
    return " ".join(f'{name}="{value:.1f}"' for name, value in places.items())
