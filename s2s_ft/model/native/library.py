"""The compiled kernel: built by the machine's own C compiler when it is first wanted, then kept.

    <cache>/s2s_ft/attention-<key>.so      key: sources, compiler and options, OpenMP, processor
    | what the linker wrote | its SHA-256, in hexadecimal |    the loader reads the former alone

Notable: the compiler is told to use all that this processor has, so the key tells processors apart:
a home folder may be shared by machines that differ. A library is loaded only from a folder that
nobody else can write to and only as it was written, since one of which a part is missing would end
the process; and it is used only once it has given the right answer here (`trial.py`). Where
anything of that fails there is none, and attention is computed by torch's own operations.

Threads are those of the OpenMP library that torch has loaded, named to the linker by its path; with
another one beside it two teams of threads would compete for the cores.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from s2s_ft.cli import first_line

logger = logging.getLogger(__name__)

SWITCH = "S2S_FT_NATIVE"
"""Variable of the environment that switches compiled kernels off, with the value 0."""

SOURCES = ("attention.c", "example.h", "half.h", "single.h", "vectors.h")

OPTIONS = (
    *("-O3", "-march=native", "-std=gnu11", "-fPIC", "-Wno-psabi"),
    "-fno-tree-loop-distribute-patterns",  # a row is too short for a call of memmove
)

HERE = Path(__file__).parent

CHECKSUM_SIZE = 64
"""Bytes behind a library."""

LONGEST_SECONDS = 120
"""After this time a compiler is given up."""


def load_library() -> ctypes.CDLL | None:
    """Find the library of this machine, or build it.

    Returns:
        It, or None where it is switched off or cannot be had.
    """
    if os.environ.get(SWITCH) == "0" or platform.system() != "Linux":
        return None
    try:
        return _kept_or_built(_own_folder())
    except (OSError, subprocess.SubprocessError) as reason:
        logger.info(
            "attention is computed by torch's operations, which makes an update about a fifth "
            "longer: its own kernel cannot be compiled here (%s)",
            first_line(reason),
        )
        return None


def discard(library: ctypes.CDLL) -> None:
    """Have a library that is wrong built anew next time, perhaps by a compiler that is mended."""
    with suppress(OSError):
        Path(library._name).unlink(missing_ok=True)


def _kept_or_built(folder: Path | None) -> ctypes.CDLL:
    """The library that is kept in a folder; else one that is built there or, if that cannot be, for
    this process alone.

    Raises:
        OSError: There is no compiler, it failed, or no room.
        SubprocessError: The compiler took too long.
    """
    openmp = _openmp_of_this_process()
    name = f"attention-{_key(openmp)}.so"
    if folder is not None:
        kept = folder / name
        # A folder from which nothing may be executed holds it whole and to no purpose.
        with suppress(OSError):
            if not _is_whole(kept):
                _build(kept, openmp)
            return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory() as passing:  # once loaded, its file may go
        made = Path(passing) / name
        _build(made, openmp)
        return ctypes.CDLL(str(made))


def _own_folder() -> Path | None:
    """Where compiled kernels are kept, if that is the user's alone."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = given if given.is_absolute() else Path(os.path.expanduser("~/.cache"))
    if not base.is_absolute():  # a user without a home
        return None
    folder = base / "s2s_ft"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    others = stat.S_IWGRP | stat.S_IWOTH
    return folder if status.st_uid == os.getuid() and not status.st_mode & others else None


def _key(openmp: Path | None) -> str:
    """What tells this library from those of other machines and versions."""
    told = "\n".join([*OPTIONS, os.environ.get("CC", ""), str(openmp), _processor()])
    texts = b"".join((HERE / name).read_bytes() for name in SOURCES)
    return hashlib.sha256(texts + told.encode(errors="surrogateescape")).hexdigest()[:16]


def _is_whole(library: Path) -> bool:
    """Whether a file is there, and is what was written."""
    if not library.exists():
        return False
    content = library.read_bytes()
    return _checksum(content[:-CHECKSUM_SIZE]) == content[-CHECKSUM_SIZE:]


def _checksum(written: bytes) -> bytes:
    return hashlib.sha256(written).hexdigest().encode()


def _build(library: Path, openmp: Path | None) -> None:
    """Compile into this file, over what is there."""
    with tempfile.TemporaryDirectory(dir=library.parent) as passing:
        made = _compiled(HERE / SOURCES[0], Path(passing), openmp)
        checksum = _checksum(made.read_bytes())
        with made.open("ab") as end:
            end.write(checksum)
        os.replace(made, library)  # whole or not at all, whoever else is building it


def _compiled(source: Path, folder: Path, openmp: Path | None) -> Path:
    """Compile and link in a folder."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler: neither gcc nor cc is on the path")
    unit, library = folder / "attention.o", folder / "attention.so"
    parallel = [] if openmp is None else ["-fopenmp"]
    _run([*compiler.split(), *OPTIONS, *parallel, "-c", str(source), "-o", str(unit)])
    linked = [] if openmp is None else [str(openmp)]
    _run([*compiler.split(), "-shared", str(unit), *linked, "-lm", "-o", str(library)])
    return library


def _run(command: list[str]) -> None:
    """Run the compiler; what it prints is told only where it fails."""
    try:
        subprocess.run(
            command,
            check=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LONGEST_SECONDS,
        )
    except subprocess.CalledProcessError as fault:
        raise OSError(f"{command[0]} failed: {_cause(fault.stdout)}") from fault


def _cause(output: str) -> str:
    """The line of a compiler's output that tells why it failed; the first ones may tell where."""
    lines = output.strip().splitlines() or [""]
    return next((line for line in lines if "error:" in line.lower()), lines[-1])


def _openmp_of_this_process() -> Path | None:
    """The OpenMP library that torch has loaded; None where it has none."""
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    fields = [line.split(maxsplit=5) for line in mapped.splitlines()]
    paths = {parts[5] for parts in fields if len(parts) == 6}  # the last is the file
    names = ("libgomp", "libiomp5", "libomp")
    found = sorted(path for path in paths if Path(path).name.startswith(names))
    of_torch = [path for path in found if "/torch" in path]
    return Path((of_torch or found)[0]) if found else None


def _processor() -> str:
    """What tells this processor from others."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    names = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    return "\n".join([platform.machine(), *sorted({x for x in lines if x.startswith(names)})])
