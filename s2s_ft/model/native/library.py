"""The compiled kernel: built by the machine's own C compiler when it is first wanted, then kept.

    <cache>/s2s_ft/attention-<key>.so      key: sources, compiler and options, OpenMP, processor

Notable: the compiler is told to use all that this processor has, so the key tells processors apart:
a home folder may be shared by machines that differ. A library is loaded only from a folder that
nobody else can write to, and used only once it has given the right answer here
(`trial.py`). Where anything of that fails there is none, and attention is computed by
torch's own operations.

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
        folder = _own_folder()
        if folder is not None:
            return _loaded_from(folder)
        with tempfile.TemporaryDirectory() as passing:  # once loaded, its file may go
            return ctypes.CDLL(str(_built(Path(passing))))
    except (OSError, subprocess.SubprocessError) as reason:
        logger.info(
            "attention is computed by torch's operations, which makes an update about a fifth "
            "longer: its own kernel cannot be compiled here (%s)",
            first_line(reason),
        )
        return None


def _loaded_from(folder: Path) -> ctypes.CDLL:
    """The library that is kept here; one that is damaged is built anew."""
    library = _built(folder)
    try:
        return ctypes.CDLL(str(library))
    except OSError:
        library.unlink(missing_ok=True)
        return ctypes.CDLL(str(_built(folder)))


def _own_folder() -> Path | None:
    """Where compiled kernels are kept, if that is the user's alone."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(base) / "s2s_ft"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    others = stat.S_IWGRP | stat.S_IWOTH
    is_own = status.st_uid == os.getuid() and not status.st_mode & others
    return folder if is_own and os.access(folder, os.W_OK | os.X_OK) else None


def _built(folder: Path) -> Path:
    """The library in this folder, compiled if it is not there.

    Raises:
        OSError: There is no compiler, or no room.
        SubprocessError: It failed.
    """
    here = Path(__file__).parent
    openmp = _openmp_of_this_process()
    told = "\n".join([*OPTIONS, os.environ.get("CC", ""), str(openmp), _processor()])
    texts = b"".join((here / name).read_bytes() for name in SOURCES)
    key = hashlib.sha256(texts + told.encode()).hexdigest()[:16]
    library = folder / f"attention-{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as passing:
            made = _compiled(here / SOURCES[0], Path(passing), openmp)
            os.replace(made, library)  # whole or not at all, whoever else is building it
    return library


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
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LONGEST_SECONDS,
        )
    except subprocess.CalledProcessError as fault:
        raise OSError(f"{command[0]} failed: {fault.stdout.strip()}") from fault


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
