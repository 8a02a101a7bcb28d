"""The compiled attention keeps to its buffers and to defined arithmetic, whatever the sizes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from s2s_ft.model.native import library
from s2s_ft.model.native.library import OPTIONS

HERE = Path(__file__).parent
SOURCES = Path(library.__file__).parent
COMPILER = os.environ.get("CC") or shutil.which("gcc")
CHECKS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
PLAIN = ("-march=x86-64",) if os.uname().machine == "x86_64" else ()


@pytest.mark.skipif(COMPILER is None, reason="no C compiler here")
@pytest.mark.parametrize("processor", [(), PLAIN], ids=["this processor", "any processor"])
def test_random_batches(processor: tuple[str, ...], tmp_path: Path) -> None:
    assert COMPILER is not None
    program = tmp_path / "bounds"
    command = [*COMPILER.split(), *OPTIONS, *processor, *CHECKS, "-Wall", "-Wextra", "-Werror"]
    command += ["-Wno-unknown-pragmas", "-Wno-unused-parameter", f"-I{SOURCES}"]
    built = subprocess.run(
        [*command, str(HERE / "bounds.c"), "-lm", "-o", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "cannot find -lasan" in built.stderr or "cannot find -lubsan" in built.stderr:
        pytest.skip("the compiler has no sanitizers here")
    assert built.returncode == 0, built.stderr
    run = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
