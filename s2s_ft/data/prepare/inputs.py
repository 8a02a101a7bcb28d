"""The official files on disk: found under their several names, read line by line, checksummed.

Notable: every complaint is a `ValueError` that names file and line. Text is read as strict UTF-8,
and only a line feed ends a line, so that a stray line separator inside a text moves no row.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from s2s_ft.data.files import BYTE_ORDER_MARK, open_data
from s2s_ft.storage.checksum import sha256_of


@dataclass(frozen=True)
class Row:
    """What is written of an example; a target of None where none was released."""

    id: str
    source: str
    target: str | None


class Inputs:
    """A folder of official files, and the checksums of those that were used."""

    def __init__(self, folder: str | Path) -> None:
        """Begin with the folder that `--from_files` names."""
        self.folder = Path(folder)
        self.checksums: dict[str, str] = {}
        if not self.folder.is_dir():
            raise ValueError(f"--from_files {folder}: there is no such folder; check the path")

    def find(self, *names: str) -> Path | None:
        """The first of these names, relative to the folder, that is there (`.gz` behind it too)."""
        for name in names:
            for path in (self.folder / name, self.folder / f"{name}.gz"):
                if path.is_file():
                    return path
        return None

    def need(self, *names: str) -> Path:
        """The same, for a file without which it does not go.

        Raises:
            ValueError: None of them is there.
        """
        path = self.find(*names)
        if path is None:
            wanted = ", ".join(dict.fromkeys(names))  # two layouts may share one
            raise ValueError(
                f"--from_files {self.folder}: has none of {wanted}; docs/benchmarks.md tells which "
                "files are expected and where they come from"
            )
        return path

    def lines(self, path: Path) -> Iterator[str]:
        """The lines of a text file, without their ends.

        Raises:
            ValueError: A line is not UTF-8, or the file is damaged.
        """
        self.note(path)
        with open_data(path) as stream:
            for number, raw in enumerate(stream, start=1):
                line = raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw
                yield _decoded(line, f"{path}, line {number}").rstrip("\r\n")

    def text(self, path: Path) -> str:
        """A whole text file; its checksum is noted by `note_many`, or else by `note`.

        Raises:
            ValueError: It is not UTF-8.
        """
        with open_data(path) as stream:
            return _decoded(stream.read().removeprefix(BYTE_ORDER_MARK), str(path))

    def pairs(self, source: Path, target: Path | None, name: str) -> Iterator[Row]:
        """Rows of two files with a line each.

        Args:
            source: File of sources.
            target: File of targets, None where there is none.
            name: What ids begin with.

        Raises:
            ValueError: One of them is longer.
        """
        if target is None:
            for number, text in enumerate(self.lines(source), start=1):
                yield Row(f"{name}-{number}", text.strip(), None)
            return
        targets = self.lines(target)
        number = 0
        for number, text in enumerate(self.lines(source), start=1):
            wanted = next(targets, None)
            if wanted is None:
                raise ValueError(
                    f"{source}, line {number}: {target} ends before it; line n of the one belongs "
                    "to line n of the other, so get both files again"
                )
            yield Row(f"{name}-{number}", text.strip(), wanted.strip())
        if next(targets, None) is not None:
            raise ValueError(
                f"{target}, line {number + 1}: {source} ends before it; line n of the one belongs "
                "to line n of the other, so get both files again"
            )

    def note(self, path: Path) -> None:
        """Keep the SHA-256 of a file."""
        name = str(path.relative_to(self.folder))
        if name not in self.checksums:
            self.checksums[name] = sha256_of(path)

    def note_many(self, name: str, texts: Iterable[tuple[str, str]]) -> Iterator[str]:
        """Keep one SHA-256 of many small files, of their names and contents in order.

        Yields:
            The contents.
        """
        digest = hashlib.sha256()
        for file, text in texts:
            digest.update(f"{file}\0{text}\0".encode())
            yield text
        self.checksums[name] = digest.hexdigest()

    def bytes(self) -> int:
        """Size of all files in the folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def _decoded(raw: bytes, place: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise ValueError(
            f"{place}: not UTF-8 (byte {fault.start + 1} is 0x{raw[fault.start]:02x}); convert the "
            "file, for example with iconv -t UTF-8, or get it again"
        ) from fault
