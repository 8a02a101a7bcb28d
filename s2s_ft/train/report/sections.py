"""The sections of `report.html`, from what the files of a run tell.

header        how far it came, key numbers        samples       texts over time
curves        loss, scores, rate, norm, speed     options       all of them, those given first
looks         every look at the held-out rows     environment   machine, versions, time, starts
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from s2s_ft.options import TrainOptions, flags_of
from s2s_ft.train.lines import Line
from s2s_ft.train.report.axes import duration, memory, written
from s2s_ft.train.report.page import escape, folded, table, texts, tiles
from s2s_ft.train.report.story import TITLES, Story

MOST_LOOKS = 12
"""Looks whose table is shown without unfolding."""

MOST_TEXTS = 8
"""Texts of one held-out row that are shown without unfolding."""


def header(story: Story) -> Iterator[str]:
    """The name, how the run ended, and its key numbers."""
    ending, is_finished = story.ending
    kind = "done" if is_finished else "open"
    yield f"<header><h1>{escape(story.name)}</h1>"
    yield f'<p><span class="state {kind}">{escape(ending)}</span></p>'
    share = f"{story.step:,} of {story.total:,} updates"
    yield (
        f'<progress max="{max(story.total, 1)}" value="{min(story.step, story.total)}">'
        f"{escape(share)}</progress></header>"
    )
    yield tiles(_key_numbers(story))


def looks(story: Story) -> Iterator[str]:
    """A table of every look."""
    if not story.looks:
        return
    names = story.measured
    head = ["after update", "epoch", *(TITLES[name] for name in names), "took", "best so far"]
    rows = [
        [
            f"{line['step']:,}",
            f"{line.get('epoch', 0):g}",
            *(_score(line.get(f"dev_{name}"), name) for name in names),
            duration(line.get("seconds", 0.0)),
            "yes" if line.get("improved") else "",
        ]
        for line in story.looks
    ]
    best = story.best
    marked = [number for number, line in enumerate(story.looks) if line is best]
    content = table(head, rows, numbers_from=0, marked=marked)
    yield "<h2>Looks at the held-out rows</h2>"
    if len(rows) > MOST_LOOKS:
        yield folded(f"all {len(rows)} looks", content)
    else:
        yield f'<div class="card">{content}</div>'


def samples(story: Story) -> Iterator[str]:
    """For some held-out rows, what the model wrote over time."""
    by_row: dict[int, list[Line]] = {}
    for sample in story.samples:
        if "row" in sample:
            by_row.setdefault(sample["row"], []).append(sample)
    if by_row:
        yield "<h2>What the model wrote</h2>"
    best = None if story.best is None else story.best["step"]
    for row, found in sorted(by_row.items()):
        shown = _picked(found, best)
        content = texts(
            [(name, found[0].get(name, "")) for name in ("source", "reference")]
        ) + _over_time(shown, best)
        if len(shown) < len(found):
            content += folded(f"all {len(found)} looks", _over_time(found, best))
        yield f'<div class="card"><h3>Held-out row {row + 1:,}</h3>{content}</div>'


def options(story: Story) -> Iterator[str]:
    """Every option of the run that has an effect."""
    flags = {flag.name: flag for flag in flags_of(TrainOptions)}
    cards, num_given = [], 0
    for title, values in story.options.items():
        if not isinstance(values, dict):
            continue
        shown = {
            name: value
            for name, value in values.items()
            if name not in flags or not flags[name].obsolete
        }
        given = [
            number
            for number, (name, value) in enumerate(shown.items())
            if name in flags and flags[name].default != value
        ]
        num_given += len(given)
        rows = [(_named(name, flags), _plain(value)) for name, value in shown.items()]
        cards.append(
            f'<div class="card"><h3>{escape(title)}</h3>'
            f"{table(('option', 'value'), rows, marked=given)}</div>"
        )
    yield "<h2>Configuration</h2>"
    yield f'<p class="soft">{num_given} options differ from their defaults and stand out.</p>'
    yield f'<div class="groups">{"".join(cards)}</div>'


def environment(story: Story) -> Iterator[str]:
    """Machine, versions, time, and each start of the command."""
    yield "<h2>Time and environment</h2>"
    yield f'<div class="card"><h3>Time</h3>{table(("what", "time"), _times(story))}</div>'
    rows = [
        (
            start.get("time", ""),
            f"{start['step']:,}",
            "" if end is None else f"{end['step']:,}",
            "still going on, or killed" if end is None else end.get("ending", "ended"),
            start.get("device", ""),
            start.get("ranks", ""),
            start.get("threads", ""),
        )
        for start, end in story.starts
    ]
    head = ("started (UTC)", "at update", "until", "ended", "device", "ranks", "threads")
    yield f'<div class="card"><h3>Starts</h3>{table(head, rows)}</div>'
    if story.starts:
        last = story.starts[-1][0]
        facts = [
            *last.get("versions", {}).items(),
            ("system", last.get("system", "")),
            ("command", last.get("command", "")),
        ]
        yield f'<div class="card"><h3>Last start</h3>{table(("what", "which"), facts)}</div>'
    yield (
        '<p class="note">The numbers behind this page are in <code>metrics.jsonl</code>, '
        "<code>samples.jsonl</code>, <code>sessions.jsonl</code> and "
        "<code>train_options.json</code> beside it.</p>"
    )


def _key_numbers(story: Story) -> Iterator[tuple[str, str, str]]:
    """What, value and remark of each tile."""
    epoch = f"epoch {story.lines[-1].get('epoch', 0):g}" if story.lines else ""
    yield "updates", f"{story.step:,}", f"of {story.total:,}" + (f", {epoch}" if epoch else "")
    if story.best is not None:
        value = _score(story.best.get(f"dev_{story.metric}"), story.metric)
        title = TITLES.get(story.metric, story.metric)
        yield f"best held-out {title}", value, f"after update {story.best['step']:,}"
        if story.metric != "loss":
            yield (
                "held-out loss there",
                _score(story.best.get("dev_loss"), "loss"),
                "nats per token",
            )
    if story.updates:
        yield "training loss", _score(story.updates[-1].get("loss"), "loss"), "at the last line"
        yield "time in updates", duration(story.seconds_in_updates), "looks and saves left out"
        tokens, examples = (
            story.speed("target_tokens_per_second"),
            story.speed("examples_per_second"),
        )
        yield "examples per second", written(examples), f"{written(tokens)} target tokens"
        peak = max(line.get("peak_memory_bytes", 0) for line in story.updates)
        yield "peak memory", memory(peak), "of one process"


def _times(story: Story) -> Iterator[tuple[str, str]]:
    """Where the time went."""
    yield "updates, up to the last line", duration(story.seconds_in_updates)
    yield f"{len(story.looks)} looks at held-out rows", duration(story.seconds_in_looks)
    if story.starts:
        yield "first start", story.starts[0][0].get("time", "–")
        end = story.starts[-1][1]
        yield "end", "none in good order" if end is None else end.get("time", "–")
        yield "starts", f"{len(story.starts):,}"


def _picked(found: Sequence[Line], best: int | None) -> list[Line]:
    """At most `MOST_TEXTS` of one row's texts, spread over time; the best look's among them."""
    if len(found) <= MOST_TEXTS:
        return list(found)
    last = len(found) - 1
    places = {round(place * last / (MOST_TEXTS - 1)) for place in range(MOST_TEXTS)}
    places |= {number for number, sample in enumerate(found) if sample["step"] == best}
    return [found[place] for place in sorted(places)]


def _over_time(found: Sequence[Line], best: int | None) -> str:
    """A table of one row's texts."""
    rows = [(f"{sample['step']:,}", sample.get("generated", "")) for sample in found]
    marked = [number for number, sample in enumerate(found) if sample["step"] == best]
    return table(("after update", "generated"), rows, marked=marked)


def _score(value: Any, name: str) -> str:
    """A number as it is shown, a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.4f}" if name == "loss" else f"{value:.2f}"


def _named(name: str, flags: Collection[str]) -> str:
    """An option with the dashes of a flag; what was computed has none."""
    return f"--{name}" if name in flags else name


def _plain(value: Any) -> str:
    """An option's value as it is written in a configuration file."""
    if value is None:
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
