"""The folder that holds the token ids of a data file: its layout, reading it, writing it.

Holds `FeatureStore`, and `write_store`, which makes one. A store is a folder with

    tokens.bin    ids of all rows one after the other: source 0, target 0, source 1, target 1, …
    offsets.bin   int64 [2 * rows + 1]: where each of them starts, and the end
    meta.json     counts, the width of an id, the arrays' SHA-256, and what the store was made of

Notable: both arrays are memory-mapped, so opening is immediate, memory stays small and all
processes of a machine share the pages. `checked_store` reads them once and compares their SHA-256;
stores of earlier versions have none, and their ids must lie in the vocabulary. A store appears
under its name by one rename, whole or not at all; of two processes that make the same one, the
first to finish wins and the other uses it.
"""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from s2s_ft.data.construction import under_construction
from s2s_ft.storage.checksum import sha256_of
from s2s_ft.storage.removal import discard

logger = logging.getLogger(__name__)

OFFSET_DTYPE = "<i8"
NARROW_VOCABULARY = 1 << 16
TOKENS, OFFSETS = "tokens.bin", "offsets.bin"
CHECKED_IDS = 1 << 20

Ids = list[list[int]]


class FeatureStore:
    """The token ids of all rows of a data file, read from disk as they are asked for.

    Attributes:
        source_lengths: [N] int64, ids in each source, without special tokens.
        target_lengths: [N] int64, the same for the targets.
        folder: Where the store lies.
    """

    def __init__(self, folder: str | Path) -> None:
        """Opens a finished store.

        Args:
            folder: The store's own folder, with its three files.

        Raises:
            ValueError: The store is damaged: a file is absent, unreadable or of the wrong size.
                What is in the arrays is for `check`.
        """
        self.folder = Path(folder)
        try:
            meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text("utf-8"))
            num_rows, num_tokens = int(meta["num_rows"]), int(meta["num_tokens"])
            self._sha256: dict[str, str] | None = meta.get("sha256")
            self._tokens = _mapped(self.folder / TOKENS, str(meta["dtype"]), num_tokens)
            self._offsets = _mapped(self.folder / OFFSETS, OFFSET_DTYPE, 2 * num_rows + 1)
        except (OSError, KeyError, TypeError, ValueError) as fault:
            raise ValueError(f"{folder}: the token store is damaged ({fault})") from fault
        lengths = np.diff(self._offsets)
        if self._offsets[0] != 0 or self._offsets[-1] != num_tokens or lengths.min(initial=0) < 0:
            raise ValueError(f"{folder}: the token store is damaged (offsets)")
        self.source_lengths: npt.NDArray[np.int64] = np.ascontiguousarray(lengths[0::2])
        self.target_lengths: npt.NDArray[np.int64] = np.ascontiguousarray(lengths[1::2])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.source_lengths)

    def source(self, index: int) -> npt.NDArray[np.int64]:
        """Ids of one source: [source_lengths[index]] int64, without special tokens."""
        return self._sequence(2 * self._checked(index))

    def target(self, index: int) -> npt.NDArray[np.int64]:
        """Ids of one target: [target_lengths[index]] int64, without special tokens."""
        return self._sequence(2 * self._checked(index) + 1)

    def count(self, token: int) -> tuple[int, int]:
        """How often an id stands in all sources, and in all targets."""
        found = np.zeros(2, np.int64)
        for start in range(0, len(self._tokens), CHECKED_IDS):
            places = start + np.flatnonzero(self._tokens[start : start + CHECKED_IDS] == token)
            sequences = np.searchsorted(self._offsets, places, side="right") - 1
            found += np.bincount(sequences % 2, minlength=2)
        return int(found[0]), int(found[1])

    def check(self, vocab_size: int) -> None:
        """Reads both arrays and makes sure that they are what was written.

        Args:
            vocab_size: All ids are below it; what there is to go by where an earlier version wrote
                the store, without checksums.

        Raises:
            ValueError: They are not.
        """
        try:
            sha256 = None if self._sha256 is None else _digests(self.folder)
        except OSError as fault:
            raise ValueError(f"{self.folder}: the token store is damaged ({fault})") from fault
        if sha256 != self._sha256:
            raise ValueError(f"{self.folder}: the token store is damaged (checksum)")
        for start in range(0, len(self._tokens) if sha256 is None else 0, CHECKED_IDS):
            piece = self._tokens[start : start + CHECKED_IDS]
            if piece.min() < 0 or piece.max() >= vocab_size:
                raise ValueError(f"{self.folder}: the token store is damaged (unknown ids)")

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a store of {len(self)}")
        return index

    def _sequence(self, position: int) -> npt.NDArray[np.int64]:
        start, end = int(self._offsets[position]), int(self._offsets[position + 1])
        return self._tokens[start:end].astype(np.int64)


def open_store(folder: Path) -> FeatureStore | None:
    """The store in `folder`, if there is one whose files have their sizes."""
    try:
        return FeatureStore(folder)
    except ValueError:
        return None


def checked_store(folder: Path, vocab_size: int) -> FeatureStore | None:
    """The store in `folder`, if there is a sound one (see `FeatureStore.check`)."""
    try:
        store = FeatureStore(folder)
        store.check(vocab_size)
    except ValueError:
        return None
    return store


def write_store(
    folder: Path, chunks: Iterable[Ids], *, vocab_size: int, made_of: Mapping[str, object]
) -> FeatureStore:
    """Writes a store under a temporary name beside `folder`, then gives it its own.

    Args:
        folder: The store's own folder, not there yet (or damaged: then it is replaced).
        chunks: Ids of some rows at a time: source, target, source, target, …
        vocab_size: All ids are below it; decides their width on disk.
        made_of: Written into meta.json.

    Returns:
        The store, opened: this one, or that of a process that was faster.

    Raises:
        OSError: It cannot be written.
    """
    with under_construction(folder) as temporary:
        dtype = "<u2" if vocab_size <= NARROW_VOCABULARY else "<i4"
        counts = _write_arrays(temporary, chunks, dtype)
        content = {**counts, "dtype": dtype, "sha256": _digests(temporary), **made_of}
        with open(temporary / "meta.json", "w", encoding="utf-8") as meta:
            json.dump(content, meta, indent=2)
            _sync(meta)
        return _published(temporary, folder, vocab_size)


def _write_arrays(folder: Path, chunks: Iterable[Ids], dtype: str) -> dict[str, int]:
    """Writes the ids and where they start; returns the counts."""
    num_tokens = num_rows = 0
    with open(folder / TOKENS, "wb") as tokens, open(folder / OFFSETS, "wb") as offsets:
        offsets.write(np.zeros(1, OFFSET_DTYPE).tobytes())
        for ids in chunks:
            ends = num_tokens + np.cumsum([len(sequence) for sequence in ids])
            offsets.write(ends.astype(OFFSET_DTYPE).tobytes())
            tokens.write(np.fromiter(itertools.chain.from_iterable(ids), dtype).tobytes())
            num_tokens, num_rows = int(ends[-1]), num_rows + len(ids) // 2
        _sync(tokens)
        _sync(offsets)
    return {"num_rows": num_rows, "num_tokens": num_tokens}


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each array, by the name of its file."""
    return {name: sha256_of(folder / name) for name in (TOKENS, OFFSETS)}


def _mapped(file: Path, dtype: str, count: int) -> npt.NDArray[Any]:
    """Maps a file of exactly `count` numbers (ValueError if it has another size)."""
    expected = np.dtype(dtype).itemsize * count
    if file.stat().st_size != expected:
        raise ValueError(f"{file.name} has {file.stat().st_size} bytes instead of {expected}")
    if count == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype)
    return np.asarray(np.memmap(file, dtype, mode="r", shape=(count,)))


def _sync(stream: IO[Any]) -> None:
    """Waits until what was written is on disk."""
    stream.flush()
    os.fsync(stream.fileno())


def _published(temporary: Path, final: Path, vocab_size: int) -> FeatureStore:
    """Gives a finished store its name, unless a sound one has it already."""
    store = FeatureStore(temporary)  # mapped, it outlives whatever happens to the names
    try:
        os.rename(temporary, final)
    except OSError as error:
        # Another process was faster, or a damaged store lies in the way.
        found = checked_store(final, vocab_size)
        if found is not None:
            return found
        # What lay in the way may be gone by now: another process has cleared it away.
        if not final.exists() and error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        damaged = temporary.with_name(f"{temporary.name}.damaged")
        with suppress(FileNotFoundError):  # another process may be clearing it away, too
            os.rename(final, damaged)
        with suppress(OSError):
            discard(damaged)
        return _published(temporary, final, vocab_size)
    store.folder = final
    return store
