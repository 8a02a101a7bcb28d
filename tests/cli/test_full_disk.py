"""A disk that fills up ends a run with one line, and costs nothing but the updates since the save.

Notable: the disk is a file system of a few MiB in memory, mounted by the test (in a user namespace
where the test itself may not mount). Where neither is allowed, the system is told to let no file
grow past a size, which fails in the same places.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.stories import assert_same_run
from benchmarks.victims import Forks, Nursery, Run, tail
from s2s_ft.train.checkpoint import checkpoint_folders, newest_valid

SIZE = 8 << 20
SMALLEST_LIMIT = 1 << 14
"""What stands in for an almost full disk where there is only a limit on files."""


class Disk:
    """A small disk that can be filled up."""

    def __init__(self, folder: Path, *, is_mounted: bool) -> None:
        self.folder = folder
        self.largest_file: int | None = None
        self._is_mounted = is_mounted

    def size_of(self, checkpoint: Path) -> int:
        """Bytes that must be left for a checkpoint: of all files, or of the largest one."""
        sizes = [path.stat().st_size for path in checkpoint.iterdir()]
        return sum(sizes) if self._is_mounted else max(sizes)

    def leave(self, room: int | None) -> None:
        """Fill it but for so many bytes; None: empty it again."""
        filler = self.folder / "filler"
        filler.unlink(missing_ok=True)
        if not self._is_mounted:
            self.largest_file = None if room is None else max(room, SMALLEST_LIMIT)
        elif room is not None:
            state = os.statvfs(self.folder)
            filler.write_bytes(bytes(state.f_bavail * state.f_frsize - room))


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """A disk at a folder, by whichever way there is."""
    options = ("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder))
    words = ["sh", "-c", 'mount "$@"', "sh", *options]
    if subprocess.run(words, capture_output=True, check=False).returncode == 0:
        try:
            yield Disk(folder, is_mounted=True)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    script = """unshare -rm sh -c 'mount "$@" && echo ready && exec sleep 600' sh "$@" """
    words = ["sh", "-c", f"exec {script}", "sh", *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as holder:
        try:
            assert holder.stdout is not None
            is_mounted = holder.stdout.readline() == b"ready\n"
            inside = Path(f"/proc/{holder.pid}/root{folder}")
            yield Disk(inside if is_mounted else folder, is_mounted=is_mounted)
        finally:
            holder.kill()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


def test_a_full_disk(
    disk: Disk,
    nursery: Nursery,
    tiny_checkpoint: Callable[[str], Path],
    data_file: Path,
    tmp_path: Path,
) -> None:
    """Filled to several degrees, so that the end comes in one file of a checkpoint or another."""
    output_dir = disk.folder / "out"
    words: list[object] = [
        *("--train_file", data_file, "--model_name_or_path", tiny_checkpoint("bert")),
        *("--max_source_seq_length", 16, "--max_target_seq_length", 8, "--no_cuda"),
        *("--global_batch_size", 4, "--per_gpu_train_batch_size", 2, "--dropout", 0.1),
        *("--dev_file", data_file, "--num_dev_examples", 4, "--eval_steps", 4),
        *("--num_training_steps", 12, "--save_steps", 2, "--logging_steps", 2),
        *("--cached_train_features_file", tmp_path / "features"),
    ]
    flags = [str(word) for word in words]

    def start(where: Path, processes: int = 1) -> Run:
        launcher = Forks(nursery, processes, largest_file=disk.largest_file)
        (tmp_path / "log.txt").unlink(missing_ok=True)
        return launcher.start([*flags, "--output_dir", str(where)], tmp_path)

    run = start(tmp_path / "whole")
    assert run.wait(60.0) == [0], tail(run.log)
    size = disk.size_of(tmp_path / "whole" / "ckpt-2")

    run = start(output_dir)
    while not list(output_dir.glob("ckpt-*[0-9]")):
        assert not run.is_over(), tail(run.log)
        time.sleep(0.001)
    run.send(signal.SIGKILL)
    run.wait(10.0)
    newest = newest_valid(output_dir)
    assert newest is not None
    for part, processes in ((0.0, 1), (0.1, 1), (0.3, 1), (0.6, 2), (0.8, 1)):
        disk.leave(int(part * size))
        run = start(output_dir, processes)
        codes = run.wait(60.0)
        told = run.log.read_text(encoding="utf-8")
        assert codes == [1] * processes, told
        errors = [line for line in told.splitlines() if line.startswith("error:")]
        assert len(errors) == processes, told
        assert "Traceback" not in told, told
        reasons = ("No space left on device", "File too large")
        assert all(any(reason in line for reason in reasons) for line in errors), told
        assert newest_valid(output_dir) == newest
        assert checkpoint_folders(output_dir)[0] == newest
        assert not [path.name for path in output_dir.glob("*.*") if path.suffix == ".tmp"]
    disk.leave(None)
    run = start(output_dir)
    assert run.wait(60.0) == [0], tail(run.log)
    assert_same_run(tmp_path / "whole", output_dir)
    shutil.rmtree(output_dir)
