"""Reads the official files of CNN/DailyMail, XSum and Gigaword.

Notable: CNN/DailyMail's summaries keep their sentences apart, with a separator between them, since
the published ROUGE-L is of summaries, not of sentences. A highlight or paragraph that ends without
punctuation gets ` .`, as in every published version of that data.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from s2s_ft.data.prepare.inputs import Inputs, Row

HIGHLIGHT = "@highlight"
SENTENCE_ENDS = (".", "!", "?", "'", "`", '"', "\u2019", "\u201d", ")")
OFFICIAL_SPLIT = {"train": "train", "dev": "val", "test": "test"}
TAGGED = re.compile(r"<t>(.*?)</t>")
# A sentence of running text ends where a capital or a quotation begins the next one.
RUNNING = re.compile(r"(?<=[.!?])\s+(?=[\"'`\u201c\u2018(]*[A-Z0-9])")
XSUM_SPLIT_FILE = "XSum-TRAINING-DEV-TEST-SPLIT-90-5-5.json"
XSUM_SPLIT = {"train": "train", "dev": "validation", "test": "test"}
XSUM_PARTS = ("URL", "TITLE", "FIRST-SENTENCE", "RESTBODY")


def read_cnndm(inputs: Inputs, split: str, separator: str) -> Iterator[Row]:
    """Rows of CNN/DailyMail: stories by their lists of addresses, or a file of lines a side.

    Args:
        inputs: `all_{train,val,test}.txt` (also in `url_lists/`) and folders of `.story` files; or
            `{train,val,test}.{source,target}`; or `{train,val,test}.txt.{src,tgt.tagged}`.
        split: train, dev or test.
        separator: What stands between the sentences of a summary.

    Raises:
        ValueError: Files are missing or not as described.
    """
    name = OFFICIAL_SPLIT[split]
    addresses = inputs.find(f"url_lists/all_{name}.txt", f"all_{name}.txt")
    if addresses is not None:
        yield from _stories(inputs, addresses, separator)
        return
    source = inputs.need(f"{name}.source", f"{name}.txt.src", f"{split}.source", f"all_{name}.txt")
    target = inputs.need(f"{name}.target", f"{name}.txt.tgt.tagged", f"{split}.target")
    for row in inputs.pairs(source, target, split):
        yield Row(row.id, row.source, f" {separator} ".join(split_sentences(row.target or "")))


def split_sentences(text: str) -> list[str]:
    """The sentences of a summary on one line.

    Marked ones (`<t> … </t>`, or `[X_SEP]` between them) as they are marked; tokenised text after
    each ` . `; running text where a capital follows a full stop.
    """
    if tagged := TAGGED.findall(text):
        parts = tagged
    elif "[X_SEP]" in text:
        parts = text.split("[X_SEP]")
    elif re.search(r" [.!?] ", text):
        parts = re.split(r"(?<= [.!?])\s", text)
    else:
        parts = RUNNING.split(text)
    return [part.strip() for part in parts if part.strip()]


def _stories(inputs: Inputs, addresses: Path, separator: str) -> Iterator[Row]:
    """Stories in the order of their list; those without an article are left out, as published."""
    folders = sorted({path.parent for path in inputs.folder.rglob("*.story")})
    if not folders:
        raise ValueError(f"--from_files {inputs.folder}: {addresses} is there, but no .story file")

    def files() -> Iterator[tuple[str, str]]:
        for number, address in enumerate(inputs.lines(addresses), start=1):
            name = hashlib.sha1(address.strip().encode("utf-8")).hexdigest()
            path = next((x for x in (y / f"{name}.story" for y in folders) if x.is_file()), None)
            if path is None:
                raise ValueError(
                    f"{addresses}, line {number}: no file {name}.story for {address.strip()}; "
                    "unpack the stories of both newspapers below --from_files"
                )
            names.append(name)
            yield path.name, inputs.text(path)

    names: list[str] = []
    for text in inputs.note_many(f"stories of {addresses.name}", files()):
        article, highlights = parse_story(text)
        if article:
            yield Row(names[-1], article, f" {separator} ".join(highlights))


def parse_story(text: str) -> tuple[str, list[str]]:
    """A `.story` file: paragraphs, then `@highlight` before each sentence of the summary.

    Returns:
        The article on one line, and the highlights.
    """
    article: list[str] = []
    highlights: list[str] = []
    is_summary = False
    # Other marks that Python takes for the end of a line stand within sentences here.
    for line in (each.strip() for each in re.split(r"\r\n|\r|\n", text)):
        if line.startswith(HIGHLIGHT):
            is_summary = True
        elif line:
            ended = line if line.endswith(SENTENCE_ENDS) else f"{line} ."
            (highlights if is_summary else article).append(ended)
    return " ".join(article), highlights


def read_xsum(inputs: Inputs, split: str) -> Iterator[Row]:
    """Rows of XSum: the split file with a `.summary` file an id, or a file of lines a side.

    Raises:
        ValueError: Files are missing or not as described.
    """
    split_file = inputs.find(XSUM_SPLIT_FILE)
    if split_file is None:
        name = OFFICIAL_SPLIT[split]
        source = inputs.need(
            f"{name}.source", f"{name}.document", f"{XSUM_SPLIT[split]}.document", XSUM_SPLIT_FILE
        )
        target = inputs.need(f"{name}.target", f"{name}.summary", f"{XSUM_SPLIT[split]}.summary")
        yield from inputs.pairs(source, target, split)
        return
    inputs.note(split_file)
    numbers = _xsum_numbers(inputs, split_file, XSUM_SPLIT[split])

    def files() -> Iterator[tuple[str, str]]:
        for number in numbers:
            path = inputs.need(f"bbc-summary-data/{number}.summary", f"{number}.summary")
            yield path.name, inputs.text(path)

    texts = inputs.note_many(f"summaries of {split}", files())
    for number, text in zip(numbers, texts, strict=True):
        parts = parse_xsum(text, f"{number}.summary")
        yield Row(number, parts["RESTBODY"], parts["FIRST-SENTENCE"])


def _xsum_numbers(inputs: Inputs, split_file: Path, name: str) -> list[str]:
    try:
        content: Any = json.loads(inputs.text(split_file))
        return [str(number) for number in content[name]]
    except (json.JSONDecodeError, KeyError, TypeError) as fault:
        raise ValueError(
            f"{split_file}: no JSON object with a list of ids under {name!r} ({fault}); get the "
            "file again"
        ) from fault


def parse_xsum(text: str, file: str) -> dict[str, str]:
    """A `.summary` file: parts behind `[SN]NAME[SN]`.

    Returns:
        The parts, each on one line.

    Raises:
        ValueError: Parts are missing.
    """
    pieces = text.split("[SN]")[1:]
    parts = dict(zip(pieces[::2], pieces[1::2], strict=False))
    missing = [name for name in XSUM_PARTS if name not in parts]
    if missing:
        raise ValueError(
            f"{file}, line 1: has no part [SN]{missing[0]}[SN]; get the file again, or leave its "
            f"id out of {XSUM_SPLIT_FILE}"
        )
    return {name: " ".join(parts[name].split()) for name in XSUM_PARTS}


def read_gigaword(inputs: Inputs, split: str) -> Iterator[Row]:
    """Rows of Gigaword: a file of lines a side, under the names of either release.

    Raises:
        ValueError: Files are missing or of different lengths.
    """
    names = {
        "train": ("train.article.txt", "train.src.txt"),
        "dev": ("valid.article.filter.txt", "dev.src.txt", "valid.article.txt"),
        "test": ("input.txt", "test.src.txt", "giga/input.txt", "Giga/input.txt"),
    }
    targets = {
        "train": ("train.title.txt", "train.tgt.txt"),
        "dev": ("valid.title.filter.txt", "dev.tgt.txt", "valid.title.txt"),
        "test": ("task1_ref0.txt", "test.tgt.txt", "giga/task1_ref0.txt", "Giga/task1_ref0.txt"),
    }
    yield from inputs.pairs(inputs.need(*names[split]), inputs.need(*targets[split]), split)
