"""What `seeds.py` tells in Markdown: the tables between two marks of a file, and example outputs.

Notable: example rows are evenly spaced over the test set, nothing is picked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.seed_runs import KEYS, Run

TITLES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
SOURCE_LETTERS = 300
"""Most letters of a source that are shown."""
NUM_EXAMPLES = 12

INTERVALS = (
    "Square brackets: 95 % intervals. Those of a mean are drawn over test examples and seeds, "
    "those of a difference (and p, two-sided, not corrected for their number) over test examples, "
    "on the mean over seeds of each example's score; in the last column over seeds, too "
    "(`benchmarks/seed_scores.py`). Training seconds are of the updates alone. The machine was "
    "shared: the first table has what they take at the pace of the fastest 94 updates "
    "of any of the runs, the last one what the clock said of each."
)

PEER_FLAGS = (
    *("cpu_seconds", "learning_rate", "num_warmup_steps", "fresh_head"),
    *("max_source_seq_length", "batch_size", "dropout"),
)

PEER_NOTE = (
    "`bert2bert` is transformers' `EncoderDecoderModel` of the same encoder (encoder and decoder "
    "started from it), trained for the same time and searched with the same beam "
    "(`benchmarks/bert2bert.py`); its seconds are of the processor."
)


def replaced(text: str, mark: str, content: str) -> str:
    """A text with new content between `<!-- mark -->` and `<!-- /mark -->`.

    Raises:
        ValueError: The two are not there once each, in this order.
    """
    start, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"there is no one part between {start} and {end}")
    before, rest = text.split(start)
    return f"{before}{start}\n\n{content.strip()}\n\n{end}{rest.split(end)[1]}"


def tables(report: Mapping[str, Any]) -> str:
    """All tables of a report as `seeds.py` writes it, with what they need to be understood."""
    peer = [PEER_NOTE] if report["peer"] else []
    parts = [
        f"DebSum English, the whole test set ({report['num_examples']:,} rows), MiniLM-L6; "
        f"{report['budget']}. {report['num_learned']} of its sources stand in the training "
        f"file, too. ROUGE-L is `rougeL`; the synopses are one line each. {INTERVALS}",
        *peer,
        _methods(report["methods"]),
    ]
    if report["comparisons"]:
        parts.append(_comparisons(report["comparisons"]))
    parts.append("Each run:")
    parts.append(_runs(report["rows"]))
    parts.append(f"{report['hardware']}, one thread: `{report['command']}`{_peer(report['peer'])}")
    return "\n\n".join(parts)


def _peer(details: Mapping[str, Any] | None) -> str:
    """The command of the peer's runs, where there are any."""
    if not details:
        return ""
    flags = " ".join(f"--{key} {details[key]}" for key in PEER_FLAGS if key in details)
    return f"; `benchmarks/bert2bert.py train.jsonl test.jsonl OUTPUT {flags}`"


def _methods(methods: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, found in methods.items():
        scores = [_with_interval(found[key]) for key in KEYS]
        seeds = ", ".join(map(str, found["seeds"]))
        rows.append([f"`{name}`", seeds, *scores, f"{found['examples']:,.0f}"])
        rows[-1].append(f"{found['undisturbed s']:,.0f}")
        rows[-1].append(f"{found['peak MiB']:,}")
    head = ["", "seeds", *(TITLES[key] for key in KEYS)]
    return table([*head, "examples seen", "training, seconds", "peak memory, MiB"], rows)


def _comparisons(comparisons: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one, other in dict.fromkeys(tuple(each["pair"]) for each in comparisons):
        found = {each["key"]: each for each in comparisons if each["pair"] == [one, other]}
        cells = [f"`{one}` − `{other}`"]
        for key in KEYS:
            score = found[key]
            cells.append(
                f"{_signed(score['difference'])} {_interval(score, '')}, p {score['p_value']:.4f}"
            )
        last = found[KEYS[-1]]
        rows.append([*cells, _interval(last, "_with_seeds")])
    return table(
        ["difference", *(TITLES[key] for key in KEYS), f"{TITLES[KEYS[-1]]}, seeds drawn"], rows
    )


def _runs(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ["", "seed", *(TITLES[key] for key in KEYS), "by the clock, seconds", "peak MiB", "commit"],
        [
            [
                f"`{row['method']}`",
                str(row["seed"]),
                *(f"{row[key]:.2f}" for key in KEYS),
                f"{row['seconds']:,.0f}",
                f"{row['peak MiB']:,}",
                row["commit"] or "",
            ]
            for row in rows
        ],
    )


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _interval(found: Mapping[str, float], kind: str) -> str:
    return f"[{_signed(found[f'low{kind}'])}, {_signed(found[f'high{kind}'])}]"


def _with_interval(found: Mapping[str, float]) -> str:
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def examples(
    runs: Sequence[Run], rows: Sequence[Mapping[str, str]], *, count: int = NUM_EXAMPLES
) -> str:
    """Outputs beside references as a page.

    Args:
        runs: Of one seed, with the texts of all rows.
        rows: The test set: `id`, `src` and `tgt`.
        count: How many rows are shown.
    """
    seed = runs[0].seed
    parts = [
        "# Example outputs, DebSum English",
        f"{count} of the {len(rows):,} test rows, evenly spaced; runs of seed {seed}, beam 5. "
        f"Sources are cut after {SOURCE_LETTERS} letters. Made by `benchmarks/seeds.py --examples`;"
        " scores of all rows are in `benchmarks/results/seeds.json`.",
    ]
    for place in range(count):
        index = (2 * place + 1) * len(rows) // (2 * count)
        row = rows[index]
        outputs = [[f"`{run.method}`", plain(run.texts[index])] for run in runs]
        parts.append(f"## {index}: {plain(row['id'])}")
        parts.append(plain(shortened(row["src"])))
        parts.append(table(["reference", plain(row["tgt"])], outputs))
    return "\n\n".join(parts) + "\n"


def shortened(text: str, letters: int = SOURCE_LETTERS) -> str:
    """The beginning of a text, cut between words, with ` …` where something was left out."""
    text = " ".join(text.split())
    if len(text) <= letters:
        return text
    return text[: letters + 1].rpartition(" ")[0] + " …"


def plain(text: str) -> str:
    """A text on one line that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#~$&])", r"\\\1", " ".join(text.split()))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
