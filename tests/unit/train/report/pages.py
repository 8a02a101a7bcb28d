"""A page as a tree of elements, and a run that has left all that a page tells of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from s2s_ft.train.lines import REPORT, line_of
from s2s_ft.train.report.write import write_report

VOID = {"meta", "br", "hr", "img", "input", "link", "line", "circle", "polyline", "polygon"}
NASTY = "<script>alert('x')</script> & \"quoted\" \x00 </td>"
CHARTS = (
    "Training loss",
    "Held-out loss",
    "Held-out scores",
    "Learning rate",
    "Gradient norm",
    "Throughput",
)


@dataclass
class Element:
    """A tag with what stands in it."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts) + " ".join(child.text for child in self.children)

    def all(self, tag: str) -> list[Element]:
        """Every element of a kind below this one."""
        below = [each for child in self.children for each in child.all(tag)]
        return [child for child in self.children if child.tag == tag] + below


class Tree(HTMLParser):
    """Parses a page strictly: every tag is closed, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open = [Element("page", {})]
        self.feed(page)
        self.close()
        assert len(self.open) == 1, f"{self.open[-1].tag} is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID or (tag in ("line", "circle") and not self.closed_at_once()):
            self.open.append(element)

    def closed_at_once(self) -> bool:
        return (self.get_starttag_text() or "").endswith("/>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].texts.append(data)


def write_lines(path: Path, content: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(map(line_of, content)), encoding="utf-8")


def train_line(step: int, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "train",
        "step": step,
        "epoch": step / 4,
        "loss": 5.0 / step,
        "learning_rate": 1e-4,
        "grad_norm": 2.0,
        "target_tokens_per_second": 500.0,
        "examples_per_second": 40.0,
        "seconds": 2.0,
        "peak_memory_bytes": 3 << 30,
        **changes,
    }


def look_line(step: int, *, improved: bool) -> dict[str, Any]:
    scores = {"rouge1": 40.0, "rouge2": 20.0, "rougeL": 38.0, "bleu": 9.0, "chrf": 35.0}
    return {
        "kind": "look",
        "step": step,
        "epoch": step / 4,
        "dev_loss": 4.0 - step / 100,
        **{f"dev_{name}": value + step for name, value in scores.items()},
        "examples": 1600,
        "seconds": 5.0,
        "improved": improved,
    }


def report_of(folder: Path) -> Element:
    assert write_report(folder) == folder / REPORT
    return Tree((folder / REPORT).read_text(encoding="utf-8")).open[0]
