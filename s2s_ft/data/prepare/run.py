"""The story of preparing a benchmark: official files or the hub, to JSON lines that were counted.

    room on the disk? -> rows of each split -> left out what training cannot use -> counted ->
    card and checksums beside them -> all in its place at once

Notable: nothing is left behind unless everything went well.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from s2s_ft.cli import EnvironmentFault
from s2s_ft.data.prepare.card import Written, card, description
from s2s_ft.data.prepare.hub import Loader, hub_of, read_hub
from s2s_ft.data.prepare.inputs import Inputs, Row
from s2s_ft.data.prepare.languages import read_debsum, read_xglue
from s2s_ft.data.prepare.news import read_cnndm, read_gigaword, read_xsum
from s2s_ft.data.prepare.options import PrepareOptions
from s2s_ft.data.prepare.questions import read_squad
from s2s_ft.data.prepare.tasks import NO_LANGUAGE, TASKS, Task
from s2s_ft.storage.output_folder import written_whole

logger = logging.getLogger(__name__)

MEGABYTE = 10**6
UNPACKED = 5
"""How much larger text is that was gzipped."""


@dataclass(frozen=True)
class Splits:
    """Where the rows come from: the options, the benchmark, and its files or the hub."""

    options: PrepareOptions
    task: Task
    inputs: Inputs | None
    load: Loader | None

    def rows(self, language: str, split: str) -> Iterator[Row]:
        """The rows of a split, in the order of their source."""
        if self.inputs is None:
            hub = hub_of(self.options.name, self.task)
            return read_hub(self.options, hub, language, split, self.load)
        return _read_files(self.options, self.inputs, language, split)


def prepare(options: PrepareOptions, load: Loader | None = None) -> int:
    """Write a benchmark as `{train,dev,test}.jsonl`, with a card and `dataset.json`.

    Args:
        options: What to prepare.
        load: Stands in for `datasets.load_dataset`; None for that itself.

    Returns:
        Exit code 0.

    Raises:
        ValueError: Files or counts are not as they should be; the message names file and line.
        EnvironmentFault: The disk is too small, or the hub does not give the data.
        OSError: A file cannot be read or written.
    """
    task = TASKS[options.name]
    languages = _languages(options, task)
    if options.from_files is None:
        hub_of(options.name, task)
    inputs = None if options.from_files is None else Inputs(options.from_files)
    _check_room(options, task, inputs)
    splits = Splits(options, task, inputs, load)
    with written_whole(options.output_dir) as folder:
        written = []
        for language in languages:
            for split in task.splits(language):
                name = f"{language}/{split}.jsonl" if language else f"{split}.jsonl"
                each = _write(folder / name, name, splits.rows(language, split), split)
                _check_count(options, task, language, split, each)
                logger.info("%s: %s rows", name, f"{each.rows:,}")
                written.append(each)
        found = description(options, task, written, {} if inputs is None else inputs.checksums)
        (folder / "dataset.json").write_text(
            json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (folder / "README.md").write_text(card(options, task, written, found), encoding="utf-8")
    logger.info("%s is in %s", task.title, options.output_dir)
    return 0


def _languages(options: PrepareOptions, task: Task) -> tuple[str, ...]:
    if not options.languages:
        return task.languages
    if task.languages == (NO_LANGUAGE,):
        raise ValueError(f"--languages: {options.name} has one language only; leave it out")
    for language in options.languages:
        if language not in task.languages:
            raise ValueError(
                f"--languages {language}: {options.name} has {', '.join(task.languages)}"
            )
    return tuple(each for each in task.languages if each in options.languages)


def _check_room(options: PrepareOptions, task: Task, inputs: Inputs | None) -> None:
    """Refuse to begin where the disk cannot hold it."""
    needed = task.megabytes * MEGABYTE
    if inputs is not None:
        is_packed = any(inputs.folder.rglob("*.gz"))
        needed = min(needed, inputs.bytes() * (UNPACKED if is_packed else 2))
    place = Path(options.output_dir).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise EnvironmentFault(
            f"--output_dir {options.output_dir}: {options.name} needs about "
            f"{needed // MEGABYTE:,} MB and {free // MEGABYTE:,} MB are free; make room or name "
            "another disk"
        )


def _read_files(
    options: PrepareOptions, inputs: Inputs, language: str, split: str
) -> Iterator[Row]:
    """The rows of a split in the official files."""
    name = options.name
    if name == "cnndm":
        return read_cnndm(inputs, split, options.sentence_separator)
    if name == "xsum":
        return read_xsum(inputs, split)
    if name == "gigaword":
        return read_gigaword(inputs, split)
    if name in ("xglue_ntg", "xglue_qg"):
        return read_xglue(inputs, name.removeprefix("xglue_"), language, split)
    if name == "debsum":
        return read_debsum(inputs, language, split)
    is_zhao = name == "squad_qg_zhao"
    return read_squad(inputs, split, options.answer_separator, is_zhao=is_zhao)


def _write(path: Path, name: str, rows: Iterable[Row], split: str) -> Written:
    """Write a split; training rows without source or target are left out, and counted."""
    path.parent.mkdir(exist_ok=True)
    digest = hashlib.sha256()
    read = kept = without_target = 0
    with path.open("wb") as stream:
        for row in rows:
            read += 1
            if split == "train" and not (row.source.strip() and (row.target or "").strip()):
                continue
            kept += 1
            without_target += row.target is None
            fields = {"src": row.source, "tgt": row.target, "id": row.id}
            if row.target is None:
                del fields["tgt"]
            line = (json.dumps(fields, ensure_ascii=False) + "\n").encode("utf-8")
            digest.update(line)
            stream.write(line)
    return Written(name, read, kept, without_target, digest.hexdigest(), path.stat().st_size)


def _check_count(
    options: PrepareOptions, task: Task, language: str, split: str, found: Written
) -> None:
    """Compare the rows that were read with what was published."""
    published = task.counts[language][split]
    if found.read in published:
        return
    wanted = " or ".join(f"{count:,}" for count in published)
    message = f"{options.name}: {found.name} has {found.read:,} rows where {wanted} were published"
    if not options.allow_other_counts:
        raise ValueError(
            f"{message}; get the files again, or give --allow_other_counts if that is meant"
        )
    logger.warning("%s", message)
