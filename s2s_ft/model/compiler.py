"""torch's compiler, with what it cannot do told as a fault of the machine.

Notable: importing this module loads the compiler, which takes a second; so decoding imports it only
where something is compiled.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch
from torch._dynamo.exc import TorchDynamoException

from s2s_ft.cli import EnvironmentFault, first_line

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@contextmanager
def faults_of_compiling() -> Iterator[None]:
    """Tell what goes wrong inside with torch's compiler.

    Raises:
        EnvironmentFault: torch cannot compile here, mostly for want of a C++ compiler.
    """
    try:
        yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)  # without "backend=… raised:"
        what, remedy = _told(cause)
        raise EnvironmentFault(
            f"--torch_compile: torch cannot compile here ({what}); {remedy}, or leave the flag out"
        ) from error


def _told(cause: BaseException) -> tuple[str, str]:
    """What is missing, in one line, and what to do."""
    found = re.search(r"fatal error: (.+)", str(cause))  # what the C++ compiler complains of
    what = first_line(cause) if found is None else found[1]
    if "Python.h" in what:
        return what, "install Python's headers (Debian, Ubuntu: python3-dev)"
    return what, "install a C++ compiler such as g++"


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A function that is compiled when it is first called, for arguments of each shape anew.

    Args:
        function: Of tensors and plans.

    Returns:
        The same, which raises EnvironmentFault where torch cannot compile.
    """
    fast = torch.compile(function, dynamic=False)

    @functools.wraps(function)
    def run(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        with faults_of_compiling():
            return fast(*arguments, **keywords)

    return run
