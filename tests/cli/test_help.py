"""The entry points as processes: help without heavy imports, mistakes, closed pipes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.options import DecodeOptions, TrainOptions, flags_of
from s2s_ft.options.flags import groups_of

ROOT = Path(__file__).parents[2]
SCRIPTS: dict[str, type[Any]] = {
    "run_seq2seq.py": TrainOptions,
    "decode_seq2seq.py": DecodeOptions,
}
HEAVY = ("torch", "transformers", "numpy", "yaml", "tqdm", "datasets")


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environment
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_lists_every_group_and_flag_from_any_folder(script: str, tmp_path: Path) -> None:
    done = python(str(ROOT / script), "--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    words = done.stdout.replace(",", " ").split()
    for each in flags_of(SCRIPTS[script]):
        assert f"--{each.name}" in words
        assert all(alias in words for alias in each.aliases)
    for title in groups_of(SCRIPTS[script]):
        assert f"\n{title}:\n" in done.stdout
    assert "--config" in words
    assert "(default: 8)" in done.stdout or "(default: text)" in done.stdout


@pytest.mark.parametrize("command", ["train_main", "decode_main"])
def test_help_imports_nothing_heavy(command: str) -> None:
    code = (
        f"import sys; from s2s_ft.commands import {command}; code = {command}(['--help']); "
        f"print([name for name in {HEAVY} if name in sys.modules], code)"
    )
    done = python("-c", code, folder=ROOT)
    assert done.stdout.splitlines()[-1] == "[] 0"


@pytest.mark.parametrize(
    "command", ["rescore_main", "evaluate_main", "convert_main", "trim_main", "average_main"]
)
def test_the_other_commands_help_without_torch(command: str) -> None:
    code = (
        f"import sys; from s2s_ft.commands import {command}; code = {command}(['--help']); "
        "print([name for name in ('torch', 'transformers') if name in sys.modules], code)"
    )
    done = python("-c", code, folder=ROOT)
    assert done.stdout.splitlines()[-1] == "[] 0"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_mistake_exits_2_and_names_the_flag(script: str, tmp_path: Path) -> None:
    done = python(str(ROOT / script), "--see", "1", folder=tmp_path)
    assert done.returncode == 2
    assert "unknown flag --see (did you mean --seed?)" in done.stderr
    required = [f"--{each.name}=x" for each in flags_of(SCRIPTS[script]) if each.required]
    required += ["--input_file=x"] if script == "decode_seq2seq.py" else []
    done = python(str(ROOT / script), *required, "--fp16", "--bf16", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: --fp16 and --bf16 exclude each other: give one of them\n"
    assert not list(tmp_path.iterdir())


def test_a_closed_pipe_is_met_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from s2s_ft.cli import run; sys.exit(run(lambda: print('x') or 0))"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
