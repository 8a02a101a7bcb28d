"""Which curves `report.html` shows: loss, held-out loss and scores, rate, norm, speed."""

from __future__ import annotations

from collections.abc import Iterator

from s2s_ft.train.report.charts import Chart, draw
from s2s_ft.train.report.story import TITLES, Story


def curves(story: Story) -> Iterator[str]:
    """All charts."""
    yield "<h2>Curves</h2>"
    first, *others = _of_training(story)
    charts = [first, *_of_looks(story), *others]
    yield f'<div class="charts">{"".join(map(draw, charts))}</div>'
    remarks = []
    if story.resumed:
        remarks.append("Dotted upright lines: the run was stopped there and went on.")
    if story.best is not None:
        remarks.append("Rings: the best look.")
    if remarks:
        yield f'<p class="note">{" ".join(remarks)}</p>'


def _of_training(story: Story) -> Iterator[Chart]:
    """Loss, learning rate, gradient norm and speed."""
    smoothing = story.option("optimization", "label_smoothing")
    window = "mean of the updates since the line before"
    for title, unit, key, note in (
        (
            "Training loss",
            "nats per supervised token",
            "loss",
            f"Inputs corrupted, label smoothing {smoothing}; {window}.",
        ),
        ("Learning rate", "peak of all layers", "learning_rate", "Of the update itself."),
        ("Gradient norm", "L2 norm", "grad_norm", "Of the update itself, before clipping."),
        (
            "Throughput",
            "supervised target tokens per second",
            "target_tokens_per_second",
            f"Looks and saves left out; {window}.",
        ),
    ):
        yield Chart(
            title=title,
            unit=unit,
            curves=[story.curve(title.lower(), key, story.updates)],
            total=story.total,
            resumed=story.resumed,
            from_zero=key in ("learning_rate", "target_tokens_per_second"),
            steep=key == "grad_norm",
            note=note,
        )


def _of_looks(story: Story) -> Iterator[Chart]:
    """Loss and scores of the held-out rows."""
    if not story.looks:
        return
    best = None if story.best is None else int(story.best["step"])
    yield Chart(
        title="Held-out loss",
        unit="nats per target token",
        curves=[story.curve("held-out loss", "dev_loss", story.looks)],
        total=story.total,
        resumed=story.resumed,
        best=best,
        note="Negative log-likelihood of the references, nothing corrupted or smoothed: another "
        "quantity than the training loss.",
    )
    rows = story.looks[-1].get("examples")
    counted = "" if rows is None else f"{rows:,} rows, "
    names = [name for name in story.measured if name != "loss"]
    if names:
        yield Chart(
            title="Held-out scores",
            unit="points, 0 to 100",
            curves=[story.curve(TITLES[name], f"dev_{name}", story.looks) for name in names],
            total=story.total,
            resumed=story.resumed,
            best=best,
            note=f"{counted}decoded with beam "
            f"{story.option('validation', 'eval_beam_size')}; ROUGE: F1.",
        )
