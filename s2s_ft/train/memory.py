"""How much fits into memory: the largest micro-batch, and what to say when it was too much.

Notable: a GPU tells when its memory is full, so the largest batch is found by trying. A CPU does
not: the kernel ends the process. There the trial starts at one example, and a size is tried only
where twice what half of it took fits into the memory that was free before the first trial (the
machine's, or what the control groups of a container leave, whichever is less), with a fifth of it
to spare.

    GPU    first, 2 first, 4 first, …  until one fails   (or first/2, first/4, … until one fits)
    CPU    1, 2, 4, …                  until the next would not fit
"""

from __future__ import annotations

import gc
import logging
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from s2s_ft.cli import EnvironmentFault
from s2s_ft.model.large_pages import use_large_pages
from s2s_ft.model.memory import give_back_freed_memory, is_out_of_memory
from s2s_ft.options import TrainOptions

logger = logging.getLogger(__name__)

USABLE_SHARE = 0.8
"""Of the free memory of a machine without a GPU, the share that a pass may take."""

KIB = 1024


@contextmanager
def explained(options: TrainOptions, micro_batch_size: int) -> Iterator[None]:
    """Turn an out-of-memory error inside into one line that says what to lower.

    Args:
        options: Whose flags are named, with their values.
        micro_batch_size: Examples in a forward pass, as `--per_gpu_train_batch_size` or
            `--auto_batch_size` made it.

    Raises:
        EnvironmentFault: In place of the error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise EnvironmentFault(_advice(options, micro_batch_size, error)) from error


def largest_batch_size(
    try_pass: Callable[[int], None],
    first: int,
    most: int,
    *,
    device: torch.device,
    reserved: int = 0,
) -> int:
    """The largest number of examples that go through the model at once (`--auto_batch_size`).

    Args:
        try_pass: Sends this many of the longest examples forward and back, and leaves nothing
            behind but gradients; raises torch's out-of-memory error where they do not fit.
        first: Size to begin with, at least 1; a GPU tries it first.
        most: Largest size of use, at least 1: the examples of an update.
        device: Where the passes run.
        reserved: Bytes that a run needs there beyond a pass, see `optimizer_bytes`.

    Returns:
        The size, at most `most`. Processes that train together may find different ones and must
        agree on the least.

    Raises:
        torch.OutOfMemoryError: Not even one example fits (on a CPU: RuntimeError or MemoryError).
    """
    if device.type == "cpu":
        size = _largest_on_cpu(try_pass, most, reserved)
    else:
        with _memory_taken(device, reserved):
            size = _largest_by_trial(try_pass, min(first, most), most)
    logger.info("--auto_batch_size: %d of the longest examples fit in a forward pass", size)
    return size


def optimizer_bytes(model: nn.Module) -> int:
    """Memory of the two moments that AdamW keeps of each trained weight, in bytes."""
    trained = (each for each in model.parameters() if each.requires_grad)
    return sum(2 * each.numel() * each.element_size() for each in trained)


def available_memory(root: Path = Path("/")) -> int:
    """Memory that this process may still take, in bytes: of the machine and of its containers.

    Args:
        root: Where `proc` and `sys` are.

    Raises:
        EnvironmentFault: The system does not tell in Linux's way.
    """
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise EnvironmentFault(
            f"--auto_batch_size: this system does not say how much memory is free ({error}); "
            "give a --per_gpu_train_batch_size that fits in its place"
        ) from error
    machine = next(int(line.split()[1]) * KIB for line in lines if line.startswith("MemAvailable"))
    return max(0, min([machine, *_left_by_control_groups(root)]))


def _largest_by_trial(try_pass: Callable[[int], None], first: int, most: int) -> int:
    """Double until a size fails; where the first one does, halve until one fits."""
    size = first
    while not _fits(try_pass, size):
        if size == 1:
            try_pass(1)  # once more, for its error
        size = max(1, size // 2)
        most = min(most, size)
    while size < most and _fits(try_pass, min(2 * size, most)):
        size = min(2 * size, most)
    return size


def _fits(try_pass: Callable[[int], None], size: int) -> bool:
    """Whether a pass goes through; what a failed one took is given back."""
    fits = True
    try:
        try_pass(size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    gc.collect()  # what the error still held
    torch.cuda.empty_cache()
    return fits


def _largest_on_cpu(try_pass: Callable[[int], None], most: int, reserved: int) -> int:
    """Double as long as the next size is sure to fit."""
    usable = USABLE_SHARE * available_memory() - reserved
    before = _forget_peak()
    size = 1
    try_pass(size)
    while size < most:
        taken = _peak_memory() - before
        following = min(2 * size, most)
        if taken * following / size > usable:
            break
        size = following
        try_pass(size)
    return size


def _forget_peak() -> int:
    """Start the measurement of the largest memory anew; returns what is taken now, in bytes."""
    give_back_freed_memory()  # what is free but held would hide what a pass takes
    use_large_pages()  # the heap has lost its end, and with it what was asked for
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not allowed: then the peak so far counts, too, which is on the safe side
        logger.debug("the peak of memory cannot be reset")
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def _peak_memory() -> int:
    """The largest memory that this process has held since the measurement began, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith("VmHWM"))


@contextmanager
def _memory_taken(device: torch.device, size: int) -> Iterator[None]:
    """Hold this many bytes of a device inside."""
    block = torch.empty(size, dtype=torch.uint8, device=device)
    try:
        yield
    finally:
        del block


def _left_by_control_groups(root: Path) -> list[int]:
    """What each control group that this process is in leaves it, in bytes (versions 1 and 2)."""
    left = []
    try:
        entries = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for entry in entries:
        _, controllers, path = entry.split(":", maxsplit=2)
        if controllers == "":
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = mount / path.lstrip("/")
        for folder in [each for each in (group, *group.parents) if each.is_relative_to(mount)]:
            limit, usage = (_number_in(folder / name) for name in names)
            if limit is not None and usage is not None:
                left.append(limit - usage + _reclaimable(folder))
    return left


def _number_in(file: Path) -> int | None:
    """The number a control file holds; None where it is missing or says `max`."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _reclaimable(group: Path) -> int:
    """Bytes of a control group's usage that the kernel takes back when it needs them."""
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    values = dict(line.split() for line in lines)
    return int(values.get("total_inactive_file", values.get("inactive_file", 0)))


def _advice(options: TrainOptions, micro_batch_size: int, error: BaseException) -> str:
    """What was too much, and every flag that would take less."""
    tokens = options.optimization.max_tokens_per_batch
    steps = []
    if micro_batch_size > 1:
        steps.append(f"lower --per_gpu_train_batch_size ({micro_batch_size} now)")
    if tokens is None:
        steps.append("give --max_tokens_per_batch")
    else:
        steps.append(f"lower --max_tokens_per_batch ({tokens} now)")
    if not options.runtime.gradient_checkpointing:
        steps.append("give --gradient_checkpointing")
    steps.append(f"lower --max_source_seq_length ({options.data.max_source_seq_length} now)")
    what = str(error).strip().split("\n")[0]
    return (
        f"out of memory ({what}): {', '.join(steps[:-1])} or {steps[-1]}; with --global_batch_size "
        "updates stay as large, so that a run can go on from its newest checkpoint"
    )
