"""Keep the memory that tensors free inside the process, on a CPU.

Notable: a training step frees and allocates the same large tensors again and again. glibc hands
each of them back to the kernel at once and gets it back as pages to be zeroed, one fault for every
4 KiB; on a small virtual machine that took about a sixth of a step. Told to keep them, the heap
stays as large as the largest step needs.

It does so only while nothing small and lasting is put between the large tensors. oneDNN compiles
a kernel for each shape of a product, a quarter of a megabyte each, and keeps 1024 of them, as does
torch's own store in front of it. Every batch has shapes of its own, so most are never used again:
they took half a gigabyte, and cut the heap into pieces that the next large tensor did not fit in.
"""

from __future__ import annotations

import ctypes
import os
import platform

import torch

from s2s_ft.cli import tells_of_memory
from s2s_ft.model.precision import has_amx

# Names and numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4

NEVER = -1
"""As an unsigned number the largest there is: the heap's end is never handed back."""

GROWTH_BYTES = 256 * 2**20
"""How much the heap grows at a time."""

KERNELS = 64
"""Compiled kernels that each of the two stores keeps: more than the products of one pass need."""

KERNELS_OF_TILES = 1024
"""The same of oneDNN's store on processors with AMX. Their kernels take so long to compile that
training rounds its shapes up to few (`shapes.py`); these come back, and are worth their memory."""

KERNEL_STORES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Variables of the environment that say how many: to oneDNN, and to torch's layer above it."""


def keep_freed_memory() -> bool:
    """Tell the C library's allocator to keep what is freed, and oneDNN to keep few kernels.

    To be called before the first product of the process, which is when oneDNN asks. Where the user
    has set its variables (`KERNEL_STORES`), they stand. Processes started from here inherit them.

    Returns:
        Whether the allocator took the settings: not where it is not glibc's.
    """
    kernels = KERNELS_OF_TILES if has_amx() else KERNELS
    for name, count in zip(KERNEL_STORES, (kernels, KERNELS), strict=True):
        os.environ.setdefault(name, str(count))
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
    """Whether an error says that memory could not be had, on a GPU or a CPU."""
    return isinstance(fault, torch.OutOfMemoryError) or tells_of_memory(fault)
