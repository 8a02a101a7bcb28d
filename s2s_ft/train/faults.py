"""Faults in words: what one process of a run tells the others of its end, and what becomes of it.

Notable: a fault travels as its kind and its message, in JSON. The receiver raises the same kind, so
that all processes end with the same exit code and the same line.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from s2s_ft.cli import EnvironmentFault, TrainingFault

Told = dict[str, Any]

_KINDS: tuple[type[BaseException], ...] = (
    TrainingFault,
    EnvironmentFault,
    ValueError,
    OSError,
    KeyboardInterrupt,
)
"""Kinds that have an exit code of their own (see `cli`); the first that fits counts."""

_SIGNS_OF_LOSS = (
    "gloo",
    "NCCL",
    "Connection closed",
    "Connection reset",
    "Broken pipe",
    "TCPStore",
)

_MOST_CHARACTERS = 300
"""Of an error of another library, what a message has room for."""


def in_words(fault: BaseException) -> str:
    """A fault in one line, with the name of its kind where that has no exit code of its own."""
    if isinstance(fault, KeyboardInterrupt):
        return "interrupted"
    if is_lost_connection(fault):
        return "another process of the run ended"
    text = " ".join(str(fault).split())
    return text if text and isinstance(fault, _KINDS) else f"{type(fault).__name__}: {text}"


def told(fault: BaseException, rank: int) -> Told:
    """A fault of rank `rank` as the others hear of it."""
    if isinstance(fault, SystemExit):
        return {"kind": SystemExit.__name__, "code": fault.code}
    kind = next((each.__name__ for each in _KINDS if isinstance(fault, each)), None)
    return {"kind": kind, "message": f"rank {rank}: {in_words(fault)}"}


def retold(content: Told) -> BaseException:
    """An error of the kind that another process raised; where it had no known kind, what its
    traceback tells was the environment's fault to this one.
    """
    if content["kind"] == SystemExit.__name__:
        return SystemExit(content["code"])
    kinds = {each.__name__: each for each in _KINDS}
    return kinds.get(content["kind"], EnvironmentFault)(content["message"])


def is_lost_connection(fault: BaseException) -> bool:
    """Whether an error is what torch raises when another process went away."""
    if isinstance(fault, dist.DistError):
        return True
    # gloo has no error type of its own.
    return type(fault) is RuntimeError and any(sign in str(fault) for sign in _SIGNS_OF_LOSS)


def words_of_nccl(fault: BaseException) -> str:
    """What NCCL itself says of an error of its own, in one line; empty where it says nothing."""
    if not isinstance(fault, dist.DistBackendError):
        return ""
    text = " ".join(str(fault).split())
    _, _, last = text.rpartition("Last error: ")
    return last[:_MOST_CHARACTERS]
