"""Tensors in large pages of memory, for training on a CPU.

    | heap so far | in large pages, once it is touched ...       | in small ones again |
                  ^ what is allocated from now on      RESERVED_BYTES

Notable: Linux hands memory out in pages of 4 KiB, and in pages of 2 MiB to those who ask. An update
passes over hundreds of MiB, and to look up where a page lies is dear, most of all on a virtual
machine, where each level of the table is looked up itself. What is asked for is a stretch of
addresses; so the heap is first made as long as it may become. That takes addresses, no memory.

Decoding works on a few MiB at a time and gains nothing; there the system would only have more pages
to fill with zeros.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import resource
from pathlib import Path

SMALL_PAGE_BYTES, PAGE_BYTES = 2**12, 2**21
"""Where small ones are larger than that, large ones have 32 or 512 MiB: too much to round up to."""

RESERVED_BYTES = 2**34
"""At most; and at most half of the machine's memory."""


def use_large_pages() -> bool:
    """Lengthen the heap, and have what is new of it in large pages.

    To be called behind `keep_freed_memory`, or the heap would be shortened at once; and again
    behind `give_back_freed_memory`, which does that. Not where addresses are limited: what is
    reserved would be missing to others.

    Returns:
        Whether the system was asked. It grants large pages unless
        `/sys/kernel/mm/transparent_hugepage/enabled` says `never`.
    """
    fits = platform.libc_ver()[0] == "glibc" and mmap.PAGESIZE == SMALL_PAGE_BYTES
    if not fits or _addresses_are_limited():
        return False
    library = ctypes.CDLL(None)
    library.malloc.argtypes, library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.free.argtypes, library.free.restype = [ctypes.c_void_p], None
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = min(RESERVED_BYTES, machine // 2)
    block: int | None = library.malloc(size)
    if block is None:
        return False
    start = -(-block // PAGE_BYTES) * PAGE_BYTES
    refused = library.madvise(start, block + size - start, mmap.MADV_HUGEPAGE)
    library.free(block)
    return not refused


def _addresses_are_limited() -> bool:
    """Whether this process may not ask for more addresses than it will use."""
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    if any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits):
        return True
    try:
        accounting = Path("/proc/sys/vm/overcommit_memory").read_text(encoding="ascii")
    except OSError:
        return True
    return accounting.strip() == "2"  # all that is asked for counts as taken
