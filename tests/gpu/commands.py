"""Runs what it is asked to in a process that believes it has two GPUs; see `process.py`.

    python -m tests.gpu.commands [real] < jobs.json > outcomes.json

A job is `{"command": "train" or "decode", "arguments": […]}`, or `{"command": "generate", "model",
"device", "sources", "options"}`; each may say `"most_bytes"`, see `queue.py`, and `"port"`, where
the ranks meet that do it together. An outcome tells its exit code, what the host waited for, what
went to standard error, and of "generate" the texts. With `real` the GPUs are what this machine has,
and nothing is known of waits.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Any

from s2s_ft.commands import decode_main, train_main
from s2s_ft.decode.generator import Generator
from s2s_ft.decode.ways import workers
from tests.gpu.process import simulate_gpus
from tests.gpu.queue import devices
from tests.gpu.tensors import waits

COMMANDS = {"train": train_main, "decode": decode_main}


def outcome_of(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job."""
    waits.clear()
    devices.start_anew(job.get("most_bytes"))
    if "port" in job:
        os.environ["MASTER_PORT"] = str(job["port"])
    told, texts, code = io.StringIO(), [], 0
    with redirect_stderr(told):
        if job["command"] == "generate":
            generator = Generator.from_pretrained(job["model"], device=job["device"])
            texts = generator(job["sources"], **job["options"])
        else:
            try:
                code = COMMANDS[job["command"]](job["arguments"])
            except SystemExit as ending:
                code = int(ending.code or 0)
    return {"code": code, "waits": dict(waits), "told": told.getvalue(), "texts": texts}


def outcomes_of(jobs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Do jobs, of ranks up to the first that fails: then they no longer know what to wait for."""
    for job in jobs:
        yield (outcome := outcome_of(job))
        if outcome["code"] != 0 and "port" in job:
            return


if __name__ == "__main__":
    if sys.argv[1:] != ["real"]:
        simulate_gpus()
        workers.COMMAND = [sys.executable, "-m", "tests.gpu.worker"]
    json.dump(list(outcomes_of(json.load(sys.stdin))), sys.stdout)
