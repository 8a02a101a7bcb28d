"""Where decoding computes, and in which numbers: chosen, made ready, and told.

Notable: several processes of a machine take its GPUs in turn. Which device it is stands in the log,
so that nobody waits for a CPU unawares.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch

from s2s_ft.model.memory import keep_freed_memory
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.options.decode import DecodeRuntimeOptions

logger = logging.getLogger(__name__)


def choose_device(options: DecodeRuntimeOptions, number: int | None = None) -> torch.device:
    """CUDA where there is one, unless `--no_cuda`.

    Args:
        options: The device and the number format.
        number: Which of several processes this is: they take the GPUs in turn. None for one
            process: torch's current GPU.

    Raises:
        ValueError: a number format that the device does not have.
    """
    if torch.cuda.is_available() and not options.no_cuda:
        if options.int8:
            raise ValueError("--int8 is for CPUs: give --no_cuda, too, or --bf16 in its place")
        if number is None:
            return torch.device("cuda")
        torch.cuda.set_device(number % torch.cuda.device_count())
        return torch.device("cuda", torch.cuda.current_device())
    if options.fp16:
        raise ValueError("--fp16 needs a CUDA device; give --bf16 to compute faster on a CPU")
    return torch.device("cpu")


class NumberFormat(Protocol):
    """Options that say in which numbers is computed."""

    @property
    def fp16(self) -> bool:
        """`--fp16`."""

    @property
    def bf16(self) -> bool:
        """`--bf16`."""

    @property
    def int8(self) -> bool:
        """`--int8`."""


def tell_place(
    device: torch.device, numbers: NumberFormat, *, ranks: int = 1, workers: int = 1
) -> None:
    """Log where the model computes and in which numbers: nobody shall wait for a CPU unawares.

    Args:
        device: Of this process.
        numbers: The number format.
        ranks: Processes of a launcher.
        workers: Of `--workers`.
    """
    told = {"float16": numbers.fp16, "bfloat16": numbers.bf16, "8-bit integers": numbers.int8}
    chosen = next((name for name, is_chosen in told.items() if is_chosen), "float32")
    on_gpu = device.type == "cuda"
    if workers > 1:
        place = f"the GPUs ({torch.cuda.device_count()})" if on_gpu else "the CPU"
        processes = f"{workers} workers "
    else:
        place = _gpu_named(device) if on_gpu else f"the CPU, {torch.get_num_threads()} threads"
        processes = f"{ranks} processes, this one " if ranks > 1 else ""
    logger.info("decoding: %son %s, %s", processes, place, chosen)


def _gpu_named(device: torch.device) -> str:
    index = torch.cuda.current_device() if device.index is None else device.index
    return f"cuda:{index} ({torch.cuda.get_device_name(index)})"


def make_ready(device: torch.device) -> None:
    """Give a process whose business is decoding the memory and the products that suit it."""
    if device.type == "cpu":
        keep_freed_memory()
        fast_float32_matmul()


def autocast(options: DecodeRuntimeOptions, device: torch.device) -> AbstractContextManager[object]:
    """The context in which the number format of `--fp16` or `--bf16` is used."""
    if options.fp16 or options.bf16:
        return torch.autocast(device.type, dtype=torch.float16 if options.fp16 else torch.bfloat16)
    return nullcontext()
