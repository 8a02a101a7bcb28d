"""A file of text that is there whole or not at all, and takes the place of nothing that is read
(standard library only).
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatch
from glob import escape
from pathlib import Path

OF_A_MODEL = (
    *("*.safetensors", "*.bin", "*.json", "*.model", "*.md", "*.onnx", "*.onnx.data"),
    *("vocab.*", "merges.txt"),
)
"""Files in a checkpoint's folder that belong to it; others may have been written there before."""

_CONFIG: ContextVar[str | None] = ContextVar("config", default=None)


def keep_config(path: str | None) -> None:
    """Have `checked_output` refuse the file that flags come from, which no options tell of.

    Args:
        path: What `--config` of this process's command line names; None where it is not given.
    """
    _CONFIG.set(path)


def checked_output(name: str | Path, reads: Iterable[tuple[str, str | Path | None]]) -> Path:
    """The file to write, if it takes the place of nothing that is read.

    Args:
        name: What `--output_file` names.
        reads: What is read: the flag that named it, and a file, a folder of a checkpoint, or
            anything else (None, a hub id), which cannot be the same.

    Raises:
        ValueError: It is a folder, a device, or what a flag reads, `--config` included, through
            links too.
    """
    if os.path.isdir(name):
        raise ValueError(f"--output_file {name}: is a folder; give the name of a file")
    if os.path.exists(name) and not os.path.isfile(name):
        raise ValueError(f"--output_file {name}: is a device or a pipe; give the name of a file")
    for reader, read in (*reads, ("--config", _CONFIG.get())):
        if read is not None and _is_same(name, read):
            raise ValueError(f"--output_file {name}: is what {reader} reads; give another name")
        if read is not None and _belongs_to(name, read):
            raise ValueError(
                f"--output_file {name}: belongs to the checkpoint that {reader} names; "
                "give another name"
            )
    return Path(name)


def write_output(path: Path, parts: Iterable[str]) -> None:
    """Write what `--output_file` names, in one step; its folder is made if it is not there.

    Args:
        path: The file.
        parts: Its text (see `write_whole`).

    Raises:
        OSError: It cannot be written; names the flag.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, parts)


@contextmanager
def writing(path: str | Path, flag: str = "--output_file") -> Iterator[None]:
    """Name the flag where the system does not let us write what it names.

    Raises:
        OSError: Whatever was raised, in one line.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{flag} {path} cannot be written: {reason}; name another place") from error


def write_whole(path: Path, parts: Iterable[str]) -> None:
    """Write a file in one step: under another name in the same folder, synced, then renamed.

    Whoever reads it meanwhile finds the old one or the new one. A link stays one: the file that it
    leads to is written.

    Args:
        path: The file; its folder is there.
        parts: Its text, piece by piece, line ends included; half a character (an escape such as
            `\\ud83d` on its own) becomes a question mark.

    Raises:
        ValueError: A pipe or a device is there, which a file would take the place of.
        OSError: It cannot be written; what was there stands, and nothing is left beside it.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is no file to write anew; name another place")
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors="replace", newline="\n") as stream:
            stream.writelines(parts)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def clear_partials(path: Path) -> None:
    """Remove what killed writers of a file left beside it.

    Args:
        path: The file; nobody may be writing it now.

    Raises:
        OSError: Something cannot be removed.
    """
    for partial in path.parent.glob(f".{escape(path.name)}.*.partial"):
        partial.unlink(missing_ok=True)


def _is_same(one: str | Path, other: str | Path) -> bool:
    """Whether two names mean one file, or will once it is there."""
    return os.path.realpath(one) == os.path.realpath(other) or (
        os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)
    )


def _belongs_to(path: str | Path, folder: str | Path) -> bool:
    """Whether a file is one of a checkpoint's own."""
    real = Path(os.path.realpath(path))
    if not (real.exists() and os.path.isdir(folder) and os.path.samefile(real.parent, folder)):
        return False
    return any(fnmatch(real.name, pattern) for pattern in OF_A_MODEL)
