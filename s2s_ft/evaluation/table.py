"""What an evaluation prints: the table of scores, and example rows."""

import textwrap
from collections.abc import Mapping, Sequence

from s2s_ft.evaluation.scores import Report

_MOST_SOURCE_LINES = 4
_WIDTH = 96


def score_table(reports: Mapping[str, Report]) -> str:
    """Draw a table with one line a score and one column a system.

    Args:
        reports: Systems by name, in order; all have the same scores.

    Returns:
        Lines such as ``ROUGE-L     37.52 [36.61, 38.44]``, without a newline at the end.
    """
    first = next(iter(reports.values()))
    rows = [["", *reports]]
    for number, score in enumerate(first.scores):
        estimates = [report.scores[number].estimate for report in reports.values()]
        cells = [f"{e.value:6.2f} [{e.low:.2f}, {e.high:.2f}]" for e in estimates]
        rows.append([score.title, *cells])
    words = [f"{report.mean_prediction_words:6.2f}" for report in reports.values()]
    rows.append(["mean words", *words])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def summary(report: Report, *, num_bootstrap: int) -> str:
    """One line on what was scored, above the table."""
    parts = [f"{report.num_examples} examples"]
    if report.num_empty_predictions:
        parts.append(f"empty predictions: {report.num_empty_predictions} (they score 0)")
    if report.num_empty_references:
        parts.append(f"empty references: {report.num_empty_references}")
    parts.append(f"references of {report.mean_reference_words:.2f} words")
    parts.append(f"95 % intervals from {num_bootstrap} resamples")
    return ", ".join(parts)


def example_rows(
    sources: Sequence[str] | None,
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    count: int,
) -> str:
    """Show rows that lie evenly over the file, the same ones every time.

    Args:
        sources: One text a row, or None where they are not known.
        predictions: One text a row.
        references: One text a row.
        count: How many rows to show; all of them where there are fewer.
    """
    num_rows = len(references)
    count = min(count, num_rows)
    shown = []
    for step in range(count):
        row = (2 * step + 1) * num_rows // (2 * count)
        lines = [f"example {row + 1} of {num_rows}"]
        if sources is not None:
            lines.append(_labelled("source", sources[row], most_lines=_MOST_SOURCE_LINES))
        lines.append(_labelled("generated", predictions[row]))
        lines.append(_labelled("reference", references[row]))
        shown.append("\n".join(lines))
    return "\n\n".join(shown)


def _labelled(label: str, text: str, *, most_lines: int | None = None) -> str:
    begin = f"  {label:<9}  "
    lines = textwrap.wrap(
        " ".join(text.split()) or "(empty)",
        width=_WIDTH,
        initial_indent=begin,
        subsequent_indent=" " * len(begin),
        max_lines=most_lines,
        placeholder=" …",
        break_on_hyphens=False,
    )
    return "\n".join(lines)
