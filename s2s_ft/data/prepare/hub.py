"""The rows of a benchmark from the hub, through `datasets`.

Notable: `datasets` is imported when it is needed, and handed over in tests, which ask no network.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from s2s_ft.cli import EnvironmentFault
from s2s_ft.data.prepare.inputs import Row
from s2s_ft.data.prepare.news import split_sentences
from s2s_ft.data.prepare.options import PrepareOptions
from s2s_ft.data.prepare.questions import SWAPPED
from s2s_ft.data.prepare.tasks import NO_LANGUAGE, Hub, Task

Loader = Callable[..., Iterable[Mapping[str, Any]]]
"""`datasets.load_dataset`, or what stands in for it."""

HUB_SPLIT = {"train": "train", "dev": "validation", "test": "test"}


def hub_of(name: str, task: Task) -> Hub:
    """Where the hub has a benchmark.

    Raises:
        ValueError: It has it nowhere.
    """
    if task.hub is None:
        raise ValueError(
            f"--name {name}: is not on the hub: give --from_files (examples/debsum holds a sample)"
        )
    return task.hub


def read_hub(
    options: PrepareOptions, hub: Hub, language: str, split: str, load: Loader | None
) -> Iterator[Row]:
    """Rows of a split.

    Args:
        options: What is prepared.
        hub: Where it lies.
        language: Its language, `NO_LANGUAGE` where it has one only.
        split: train, dev or test.
        load: Stands in for `datasets.load_dataset`.

    Raises:
        ValueError: The rows have other columns than they should.
        EnvironmentFault: The hub does not answer, or does not have it.
    """
    part = SWAPPED[split] if options.name == "squad_qg_zhao" else split
    name = HUB_SPLIT[part]
    if language != NO_LANGUAGE and split != "train":
        name = f"{name}.{language}"
    for number, row in enumerate(_load(options, hub, name, load), start=1):
        try:
            pieces = [_text(row[column]) for column in hub.source]
            target = _text(row[hub.target])
            identifier = _text(row[hub.identifier]) if hub.identifier else None
        except KeyError as fault:
            raise ValueError(
                f"{hub.path}, split {name}, row {number}: no column {fault}; it was made anew "
                "since, so name an older one with --hub_revision or give --from_files"
            ) from fault
        yield Row(
            f"{name}-{number}" if identifier is None else identifier,
            _source(options, pieces),
            _target(options, target),
        )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _source(options: PrepareOptions, pieces: list[str | None]) -> str:
    """One line; nothing where the hub lacks a part of it."""
    given = [" ".join(piece.split()) for piece in pieces if piece is not None]
    return f" {options.answer_separator} ".join(given) if len(given) == len(pieces) else ""


def _target(options: PrepareOptions, text: str | None) -> str | None:
    """One line; CNN/DailyMail's highlights are on a line each."""
    if text is None:
        return None
    if options.name != "cnndm":
        return " ".join(text.split())
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    sentences = lines if len(lines) > 1 else split_sentences(text)
    return f" {options.sentence_separator} ".join(sentences)


def _load(
    options: PrepareOptions, hub: Hub, split: str, load: Loader | None
) -> Iterable[Mapping[str, Any]]:
    if load is None:
        from datasets import load_dataset

        load = load_dataset
    revision = options.hub_revision or hub.revision
    try:
        return load(
            hub.path, hub.config, split=split, revision=revision, cache_dir=options.cache_dir
        )
    except (OSError, RuntimeError, ValueError) as fault:
        reason = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
        raise EnvironmentFault(
            f"{hub.path} (split {split}, revision {revision or 'main'}) cannot be had from the "
            f"hub: {reason}; give the official files with --from_files, or another --hub_revision"
        ) from fault
