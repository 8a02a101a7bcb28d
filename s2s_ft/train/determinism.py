"""Kernels of a GPU whose results do not depend on the order in which its cores finish.

Notable: what a run goes on from is exact everywhere, and so is all arithmetic on a CPU. On a GPU
some kernels, attention's backward pass among them, add up numbers as they come, so that two runs
may differ in their last bits, whether interrupted or not. torch has others for nearly all of them,
which are slower.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from s2s_ft.cli import EnvironmentFault, first_line

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_EXACT = (":4096:8", ":16:8")
"""Settings of NVIDIA's cuBLAS under which its products come out the same every time, the faster one
first (cuBLAS documentation, "Results Reproducibility")."""

_LACKING = "does not have a deterministic implementation"


@contextmanager
def deterministic(*, wanted: bool) -> Iterator[None]:
    """Have everything inside computed by kernels that give the same bits every time.

    Args:
        wanted: Whether to do that; on a CPU there is no need to.

    Raises:
        EnvironmentFault: There is no such kernel for something, or the environment forbids them.
    """
    if not wanted:
        yield
        return
    if os.environ.setdefault(_CUBLAS, _EXACT[0]) not in _EXACT:
        raise EnvironmentFault(
            f"--deterministic: {_CUBLAS} is {os.environ[_CUBLAS]!r}, under which products are not "
            f"the same every time; set it to {' or '.join(_EXACT)}, or unset it"
        )
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(mode=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    except RuntimeError as error:
        if _LACKING not in str(error):
            raise
        raise EnvironmentFault(
            f"--deterministic: this torch has no such kernel for something that the encoder "
            f"computes ({first_line(error)}); leave the flag out"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
