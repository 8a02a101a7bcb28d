"""Scripts in an environment where everything is installed already: this one."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# Stands in for the environment's Python, so that nothing is installed.
PYTHON = """#!/usr/bin/env bash
if [[ $1 == -m && $2 == pip ]]; then exit; fi
exec {python} "$@"
"""


def run_script(
    folder: Path, script: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository as a user who stands in a folder."""
    python = folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    (folder / "venv" / "pyvenv.cfg").touch()
    python.write_text(PYTHON.format(python=shlex.quote(sys.executable)))
    python.chmod(0o755)
    given = {"VENV": str(folder / "venv"), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        ["bash", str(REPOSITORY / "scripts" / script), *arguments],
        cwd=folder,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )
