"""Keep the memory that tensors free inside the process, on a CPU.

Notable: a training step frees and allocates the same large tensors again and again. glibc hands
each of them back to the kernel at once and gets it back as pages to be zeroed, one fault for every
4 KiB; on a small virtual machine that took about a sixth of a step. Told to keep them, the heap
stays as large as the largest step needs.
"""

from __future__ import annotations

import ctypes
import platform

import torch

# Names and numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4

NEVER = -1
"""As an unsigned number the largest there is: the heap's end is never handed back."""

GROWTH_BYTES = 256 * 2**20
"""How much the heap grows at a time."""


def keep_freed_memory() -> bool:
    """Tell the C library's allocator to keep what is freed; does nothing where it is not glibc.

    Returns:
        Whether the allocator took the settings.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, GROWTH_BYTES))
    return all(library.mallopt(name, value) == 1 for name, value in settings)


def give_back_freed_memory() -> bool:
    """Hand what is free in the heap back to the kernel now, whatever the settings.

    Returns:
        Whether there is a way to ask for that: with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether a fault says that a device's memory, or the machine's, does not hold a tensor."""
    # The CPU's allocator has no exception class of its own.
    told = "not enough memory" in str(fault) or "can't allocate memory" in str(fault)
    return isinstance(fault, (torch.OutOfMemoryError, MemoryError)) or told
