"""A file of text that is there whole or not at all (standard library only)."""

import os
from collections.abc import Iterable
from glob import escape
from pathlib import Path


def write_whole(path: Path, parts: Iterable[str]) -> None:
    """Write a file in one step: under another name in the same folder, synced, then renamed.

    Whoever reads it meanwhile finds the old one or the new one.

    Args:
        path: The file; its folder is there.
        parts: Its text, piece by piece, line ends included; half a character (an escape such as
            `\\ud83d` on its own) becomes a question mark.

    Raises:
        OSError: It cannot be written; what was there stands, and nothing is left beside it.
    """
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
