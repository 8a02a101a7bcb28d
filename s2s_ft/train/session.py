"""Who did the work: the machine, the versions and the command of each time a run was started.

Notable: a run may be started many times, on other machines and with other versions, and all of
them belong to what it became. What is told is enough to compare speeds and to repeat the run; the
command is told as it was given, its paths included.
"""

from __future__ import annotations

import platform
import shlex
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from s2s_ft.train.lines import END, REPORT, SESSIONS, START, append_line, read_lines

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "peft")
"""Those whose version may change a number, where they are installed."""


def note_start(output_dir: Path, step: int, device: torch.device, num_ranks: int) -> None:
    """Write down that the command starts, or goes on, after `step` updates."""
    description: dict[str, Any] = {
        "kind": START,
        "step": step,
        "time": _now(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "device": device_name(device),
        "ranks": num_ranks,
        "threads": torch.get_num_threads(),
        "system": platform.platform(terse=True),
        "versions": versions(),
    }
    append_line(output_dir / SESSIONS, description)


def note_end(output_dir: Path, step: int, ending: str, *, finished: bool) -> None:
    """Write down why the command ended after `step` updates, and whether the run is finished."""
    append_line(
        output_dir / SESSIONS,
        {"kind": END, "step": step, "time": _now(), "ending": ending, "finished": finished},
    )


def is_end_told(output_dir: Path, step: int) -> bool:
    """Whether the run is known to be finished after `step` updates, and its report is of that."""
    sessions, report = output_dir / SESSIONS, output_dir / REPORT
    lines = read_lines(sessions)
    last = lines[-1] if lines else {}
    if (last.get("kind"), last.get("step"), last.get("finished")) != (END, step, True):
        return False
    return report.is_file() and report.stat().st_mtime_ns >= sessions.stat().st_mtime_ns


def device_name(device: torch.device) -> str:
    """What the device is sold as: of a GPU its name, of a CPU its model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _processor() or device.type


def versions() -> dict[str, str]:
    """Of Python, s2s-ft and the libraries that compute."""
    found = {"python": platform.python_version()}
    for name in ("s2s-ft", *LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if torch.version.cuda is not None and torch.cuda.is_available():
        found["CUDA"] = torch.version.cuda
    return found


def _processor() -> str:
    """The processor's model, empty where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor()


def _now() -> str:
    """The time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
