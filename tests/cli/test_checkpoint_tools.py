"""`python -m s2s_ft.trim` and `python -m s2s_ft.average` as processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from s2s_ft.average.options import AverageOptions
from s2s_ft.options import flags_of
from s2s_ft.trim.options import TrimOptions

ROOT = Path(__file__).parents[2]
TOOLS = {"trim": TrimOptions, "average": AverageOptions}
NEEDED = {"trim": ["--corpus", "README.md"], "average": []}


def tool(
    name: str, *arguments: str, python: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, "-m", f"s2s_ft.{name}", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize("name", TOOLS)
def test_help_answers_at_once(name: str) -> None:
    done = tool(name, "--help", python=("-X", "importtime"))
    assert done.returncode == 0
    assert all(f"--{each.name}" in done.stdout for each in flags_of(TOOLS[name]))
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "transformers", "numpy", "tokenizers"}


@pytest.mark.parametrize("name", TOOLS)
def test_a_mistake_is_one_line_and_exit_code_2(name: str, tmp_path: Path) -> None:
    flags = ["--model_path", str(tmp_path / "none"), "--output_dir", str(tmp_path / "out")]
    done = tool(name, *flags, *NEEDED[name])
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "no such folder" in line
    assert not (tmp_path / "out").exists()
