"""Flags of the server: what is refused before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from s2s_ft.options import flags_of
from s2s_ft.serve.options import ServeOptions
from s2s_ft.serve.run import serve_main

ROOT = Path(__file__).parents[3]


def test_help_names_every_flag_without_torch_or_uvicorn() -> None:
    code = (
        "import sys; from s2s_ft.serve.run import serve_main; code = serve_main(['--help']); "
        "print([name for name in ('torch', 'uvicorn', 'fastapi', 'pydantic', 'numpy') "
        "if name in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.splitlines()[-1] == "[] 0"
    words = done.stdout.split()
    assert all(f"--{flag.name}" in words for flag in flags_of(ServeOptions))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--port 65536", "--port is 65536: give a number of at most 65535"),
        ("--port -1", "--port is -1: give a number of at least 0"),
        ("--max_queue 10", "--max_texts 64 is more than --max_queue 10 can ever hold"),
        ("--read_timeout_s 0", "--read_timeout_s is 0.0: give a number above 0"),
        ("--shutdown_grace_s inf", "--shutdown_grace_s is inf: give a finite number"),
        ("--batch_wait_ms nan", "--batch_wait_ms is nan: give a number of at least 0"),
        ("--max_batch_size 0", "--max_batch_size is 0: give a number of at least 1"),
        ("--bf16 --int8", "--bf16 and --int8 exclude each other"),
        ("--host=", "--host is empty"),
    ],
)
def test_values_that_cannot_be_are_named(
    flags: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve_main(["--model_path", "x", *flags.split()]) == 2
    assert message in capsys.readouterr().err


def test_missing_packages_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "s2s_ft.serve.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert serve_main(["--model_path", "x"]) == 1
    message = "error: the server needs the package uvicorn: pip install 's2s-ft[serve]'\n"
    assert capsys.readouterr().err == message
