"""From a data file to its token ids: tokenised once, in parallel, and found again.

Holds `build_or_open`, which keeps one store (`store.py`) per data file, tokenizer and settings in
`<folder>/<key>/`, `length_report` and `unknown_report`.

Notable: the key is a hash of the rows' bytes, the tokenizer's state and the settings, so a changed
file or tokenizer never meets an old store, and a copy of the file elsewhere does. Building needs
constant memory: chunks of rows are tokenised by threads (the tokenizers release the interpreter)
and appended in order. Ids are kept without special tokens and untruncated, so that lengths and
methods can change while the store stays.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from s2s_ft.cli import signals_held_back
from s2s_ft.data.construction import clear_abandoned
from s2s_ft.data.examples import Example, read_examples
from s2s_ft.data.files import open_data
from s2s_ft.data.store import FeatureStore, Ids, checked_store, write_store
from s2s_ft.storage.output_file import writing
from s2s_ft.storage.output_folder import make_writable
from s2s_ft.text import TextCodec

__all__ = ["FeatureStore", "build_or_open", "length_report", "unknown_report"]

MUCH_OF_SOURCES, MUCH_OF_TARGETS = 0.05, 0.01
"""Shares of unknown tokens from which on somebody should hear of them."""

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
FOLDER_FLAG = "--cached_train_features_file"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CHUNK_ROWS = 512
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class _Ingredients:
    """Everything that decides what a store holds; its hash is the store's name."""

    format_version: int
    content_sha256: str
    tokenizer_sha256: str
    source_key: str
    target_key: str
    limit: int | None

    @property
    def key(self) -> str:
        """Name of the store's folder."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def build_or_open(
    path: str | Path,
    codec: TextCodec,
    *,
    folder: str | Path,
    limit: int | None = None,
    source_key: str = "src",
    target_key: str = "tgt",
    num_workers: int = 0,
) -> FeatureStore:
    """Opens the store of a training file, tokenising the file first if there is none yet.

    Args:
        path: JSON-lines file; every row needs a source and a target.
        codec: Turns the rows into ids.
        folder: Where stores are kept; several of them live side by side.
        limit: Use only this many rows; None = all.
        source_key: Name of the value to read.
        target_key: Name of the value to write.
        num_workers: Tokenising threads; 0 = one per processor this process may use.

    Returns:
        The opened store, its content checked. A damaged one is built again.

    Raises:
        ValueError: The file or a row of it is faulty, or `folder` is a file.
        OSError: The file cannot be read or the folder not written.
    """
    home = Path(folder)
    if home.exists() and not home.is_dir():
        raise ValueError(
            f"{FOLDER_FLAG} {home}: is a file; caches of the original toolkit are not read, name a "
            "folder (it is created) for the tokenised data"
        )
    if num_workers < 0:
        raise ValueError(f"--num_workers must be 0 (automatic) or more, not {num_workers}")
    stamp = _stamp(path)
    content, num_lines = _digest(path)
    ingredients = _Ingredients(
        FORMAT_VERSION, content, codec.fingerprint, source_key, target_key, limit
    )
    clear_abandoned(home)
    found = _sound_store(home / ingredients.key, codec.special.vocab_size)
    if found is not None:
        return found
    rows = read_examples(path, source_key=source_key, target_key=target_key, limit=limit)
    total = num_lines if limit is None else min(limit, num_lines)
    encode, num_threads = partial(_encode, path, codec), num_workers or _usable_processors()
    with (
        _room_in(home),
        tqdm(rows, total=total, desc="tokenise", unit=" rows", mininterval=0.5) as bar,
        closing(_tokenised(bar, encode, num_threads)) as chunks,
    ):
        return write_store(
            home / ingredients.key,
            _while_unchanged(chunks, path, stamp),
            vocab_size=codec.special.vocab_size,
            made_of=asdict(ingredients),
        )


def _sound_store(folder: Path, vocab_size: int) -> FeatureStore | None:
    """The store that is there; of a damaged one it is said that it will be made again."""
    found = checked_store(folder, vocab_size)
    if found is None and folder.exists():
        logger.warning("the token ids in %s are damaged: made again", folder)
    return found


@contextmanager
def _room_in(home: Path) -> Iterator[None]:
    """Make the folder, and name it where it is full; other errors may be those of the rows."""
    with writing(home, FOLDER_FLAG):
        make_writable(home)
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        with writing(home, FOLDER_FLAG):
            raise


def length_report(
    store: FeatureStore,
    max_source: int,
    max_target: int,
    *,
    source_specials: int = 2,
    target_specials: int = 1,
) -> str:
    """Describes how long the rows are and how many will be cut.

    Args:
        store: The tokenised rows.
        max_source: Room for the source in tokens, special tokens included.
        max_target: Room for the target in tokens, special tokens included.
        source_specials: Special tokens added to a source ([CLS] and [SEP]; causal: only [CLS]).
        target_specials: Special tokens added to a target ([SEP], at its end or start).

    Returns:
        A few lines of text; all lengths in tokens with the special tokens counted.
    """
    lines = [
        f"{len(store):,} rows; lengths in tokens, special tokens included",
        f"{'':8}{'mean':>8}{'median':>8}{'95 %':>8}{'max':>8}{'room':>8}  cut",
    ]
    for name, lengths, room in (
        ("source", store.source_lengths + source_specials, max_source),
        ("target", store.target_lengths + target_specials, max_target),
    ):
        cut = int((lengths > room).sum())
        middle, high = np.percentile(lengths, [50, 95])
        lines.append(
            f"{name:8}{lengths.mean():8.1f}{middle:8.0f}{high:8.0f}{lengths.max():8d}{room:8d}"
            f"  {cut:,} ({cut / len(store):.1%})"
        )
    return "\n".join(lines)


def unknown_report(store: FeatureStore, unknown_id: int | None) -> str:
    """Says how much of the rows the tokenizer cannot read; empty where that is next to nothing.

    Args:
        store: The tokenised rows.
        unknown_id: Of the token that stands for what the vocabulary lacks; None = there is none.
    """
    if unknown_id is None:
        return ""
    totals = store.source_lengths.sum(), store.target_lengths.sum()
    shares = [
        found / max(total, 1) for found, total in zip(store.count(unknown_id), totals, strict=True)
    ]
    if shares[0] < MUCH_OF_SOURCES and shares[1] < MUCH_OF_TARGETS:
        return ""
    return (
        f"the tokenizer has no token for {shares[0]:.1%} of the sources and {shares[1]:.1%} of the "
        "targets: what stands there is neither read nor learnt; choose an encoder of this "
        "language and script, or give it what it lacks (--additional_tokens)"
    )


def _stamp(path: str | Path) -> tuple[int, int] | None:
    """Size and time of change of a file, to notice that somebody writes to it; None if absent."""
    if not Path(path).exists():
        return None
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _while_unchanged(
    chunks: Iterable[Ids], path: str | Path, stamp: tuple[int, int] | None
) -> Iterator[Ids]:
    """Passes the chunks on; a fault at their end if the file is not the one that was hashed."""
    yield from chunks
    if _stamp(path) != stamp:
        raise ValueError(f"{path}: the file changed while it was read; run again")


def _digest(path: str | Path) -> tuple[str, int]:
    """SHA-256 of a file's (unpacked) content, and its number of lines."""
    sha256, num_lines, last = hashlib.sha256(), 0, b""
    with open_data(path) as stream:
        while block := stream.read(READ_BYTES):
            sha256.update(block)
            num_lines += block.count(b"\n")
            last = block[-1:]
    return sha256.hexdigest(), num_lines + (last not in (b"", b"\n"))


def _usable_processors() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _tokenised(
    rows: Iterable[Example], encode: Callable[[list[Example]], Ids], num_threads: int
) -> Generator[Ids, None, None]:
    """Yields the ids of chunks of rows in order: source, target, source, target, …"""
    pending: deque[Future[Ids]] = deque()
    remaining = iter(rows)
    with (
        signals_held_back() as obey,
        _one_thread_per_call(),
        ThreadPoolExecutor(num_threads) as threads,
    ):
        while chunk := list(itertools.islice(remaining, CHUNK_ROWS)):
            obey()
            pending.append(threads.submit(encode, chunk))
            # Enough for every thread to find its next chunk; more would only take memory.
            if len(pending) > 2 * num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _encode(path: str | Path, codec: TextCodec, chunk: list[Example]) -> Ids:
    """Ids of a chunk of rows, sources and targets alternating."""
    try:
        return codec.encode([value for row in chunk for value in (row.source, row.target or "")])
    except ValueError as fault:
        if len(chunk) == 1:
            raise ValueError(f"{path}, line {chunk[0].line}: {fault}") from fault
        for row in chunk:  # finds the row at fault
            _encode(path, codec, [row])
        raise


@contextmanager
def _one_thread_per_call() -> Iterator[None]:
    """Keeps the tokenizers from starting threads of their own beside ours, for the time being.

    They look at this variable at every call; and as they then never start a thread, nothing is
    troubled when the process forks later.
    """
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
