"""Reads the official files of question generation on SQuAD: passage and answer to question.

Notable: the source is the passage, a separator and the answer. Du et al. cut SQuAD's training
articles into train and test, by lists of titles, and take SQuAD's dev set as theirs; Zhao et al.
use the same rows with dev and test swapped.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from s2s_ft.data.prepare.inputs import Inputs, Row

SWAPPED = {"train": "train", "dev": "test", "test": "dev"}
SQUAD_FILES = {
    "train": ("train-v1.1.json", "squad/train-v1.1.json"),
    "dev": ("dev-v1.1.json", "squad/dev-v1.1.json"),
    "test": ("train-v1.1.json", "squad/train-v1.1.json"),
}


def read_squad(inputs: Inputs, split: str, separator: str, *, is_zhao: bool) -> Iterator[Row]:
    """Rows of either split.

    Args:
        inputs: `{train,dev,test}.pa[.tok].txt` and `.q[.tok].txt`, with a line a row; or
            `raw/{train,dev,test}.json` of Du et al.; or SQuAD's `train-v1.1.json` and
            `dev-v1.1.json` with `doclist-{train,dev,test}.txt`.
        split: train, dev or test of the split that is asked for.
        separator: What stands between passage and answer.
        is_zhao: Whether dev and test are swapped.

    Raises:
        ValueError: Files are missing or not as described.
    """
    part = SWAPPED[split] if is_zhao else split
    lines = inputs.find(f"{part}.pa.txt", f"{part}.pa.tok.txt", f"{part}/{part}.pa.txt")
    if lines is not None:
        target = inputs.need(f"{part}.q.txt", f"{part}.q.tok.txt", f"{part}/{part}.q.txt")
        for row in inputs.pairs(lines, target, split):
            yield Row(row.id, row.source.replace(" [SEP] ", f" {separator} "), row.target)
        return
    raw = inputs.find(f"raw/{part}.json", f"{part}.json")
    path = raw or inputs.need(*SQUAD_FILES[part], f"raw/{part}.json", f"{part}.pa.txt")
    titles = None if raw else _titles(inputs, part)
    inputs.note(path)
    yield from _rows(path, _articles(inputs, path), titles, separator)


def _titles(inputs: Inputs, part: str) -> dict[str, str]:
    """The titles of a split, each with the place that names it."""
    path = inputs.need(f"doclist-{part}.txt", f"data/doclist-{part}.txt")
    return {
        line.strip(): f"{path}, line {number}"
        for number, line in enumerate(inputs.lines(path), start=1)
        if line.strip()
    }


def _articles(inputs: Inputs, path: Path) -> list[Any]:
    """The articles of a file: SQuAD's object with `data`, or a list alone."""
    try:
        content: Any = json.loads(inputs.text(path))
    except json.JSONDecodeError as fault:
        raise ValueError(
            f"{path}, line {fault.lineno}: not JSON ({fault.msg}, column {fault.colno}); get the "
            "file again"
        ) from fault
    articles = content.get("data") if isinstance(content, dict) else content
    if not isinstance(articles, list):
        raise ValueError(f"{path}, line 1: no list of articles under 'data'; get the file again")
    return articles


def _rows(
    path: Path, articles: list[Any], titles: Mapping[str, str] | None, separator: str
) -> Iterator[Row]:
    missing = dict(titles or {})
    for number, article in enumerate(articles):
        place = f"article {number}"
        try:
            title = article["title"]
            if titles is not None and title not in titles:
                continue
            missing.pop(title, None)
            for paragraph in article["paragraphs"]:
                passage = " ".join(paragraph["context"].split())
                for question in paragraph["qas"]:
                    place = f"question {question['id']}"
                    answer = " ".join(question["answers"][0]["text"].split())
                    text = " ".join(question["question"].split())
                    yield Row(question["id"], f"{passage} {separator} {answer}", text)
        except (KeyError, IndexError, TypeError, AttributeError) as fault:
            raise ValueError(
                f"{path}, {place}: not as in SQuAD 1.1 ({type(fault).__name__}: {fault}); get the "
                "file again"
            ) from fault
    if missing:
        title, where = next(iter(missing.items()))
        raise ValueError(f"{where}: {path} has no article {title!r}; get both files again")
