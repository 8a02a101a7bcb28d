"""What is written beside the rows: `dataset.json` for programs, `README.md` for people.

Notable: neither holds a date or a path of the machine, so the same files give the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from s2s_ft import __version__
from s2s_ft.data.prepare.options import PrepareOptions
from s2s_ft.data.prepare.tasks import Task


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes:
        name: Relative to the folder.
        read: Rows that its source has.
        rows: Rows that were written; training rows without source or target are left out.
        without_target: Rows whose target was not released.
        sha256: Of its bytes.
        size: In bytes.
    """

    name: str
    read: int
    rows: int
    without_target: int
    sha256: str
    size: int


def description(
    options: PrepareOptions, task: Task, written: Sequence[Written], inputs: Mapping[str, str]
) -> dict[str, Any]:
    """What `dataset.json` holds."""
    published = {
        f"{language}/{split}.jsonl" if language else f"{split}.jsonl": list(counts)
        for language, splits in task.counts.items()
        for split, counts in splits.items()
    }
    source: dict[str, Any] = {"files": dict(inputs)}
    if options.from_files is None and task.hub is not None:
        source = {
            "hub": task.hub.path,
            "config": task.hub.config,
            "revision": options.hub_revision or task.hub.revision or "main",
        }
    return {
        "name": options.name,
        "title": task.title,
        "home": task.home,
        "terms": task.terms,
        "made_by": f"s2s-ft {__version__}",
        "sentence_separator": options.sentence_separator if options.name == "cnndm" else None,
        "answer_separator": options.answer_separator if "squad" in options.name else None,
        "counts_as_published": all(each.read in published[each.name] for each in written),
        "files": {
            each.name: {**asdict(each), "published": published[each.name]} for each in written
        },
        "source": source,
    }


def card(
    options: PrepareOptions, task: Task, written: Sequence[Written], found: Mapping[str, Any]
) -> str:
    """The data card, in Markdown."""
    lines = [
        f"# {task.title}",
        "",
        f"Made by `python -m s2s_ft.data.prepare {options.name}` of {_origin(found)}.",
        "",
        f"**Source.** {task.home}.",
        "",
        f"**Terms.** {task.terms}.",
        "",
        '**Rows.** JSON lines, `{"src": …, "tgt": …, "id": …}`.' + _notes(options),
        "",
        "| file | rows | published | left out | without target | SHA-256 |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for each in written:
        published = " or ".join(f"{count:,}" for count in found["files"][each.name]["published"])
        lines.append(
            f"| `{each.name}` | {each.rows:,} | {published} | {each.read - each.rows:,} "
            f"| {each.without_target:,} | `{each.sha256}` |"
        )
    lines += ["", "Training rows without source or target are left out; others are as released."]
    if files := found["source"].get("files"):
        lines += ["", "| official file | SHA-256 |", "|---|---|"]
        lines += [f"| `{name}` | `{digest}` |" for name, digest in files.items()]
    return "\n".join(lines) + "\n"


def _origin(found: Mapping[str, Any]) -> str:
    source = found["source"]
    if "hub" not in source:
        return "the official files"
    config = f", configuration {source['config']}" if source["config"] else ""
    return f"`{source['hub']}` on the hub{config}, revision `{source['revision']}`"


def _notes(options: PrepareOptions) -> str:
    if options.name == "cnndm":
        return f" Sentences of a summary are joined by `{options.sentence_separator}`."
    if options.name.startswith("squad"):
        return f" A source is the passage, `{options.answer_separator}` and the answer."
    return ""
