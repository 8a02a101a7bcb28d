"""Command lines: options dataclasses to argparse, exceptions to exit codes, the log.

Exit codes: 0 done; 1 the environment (a missing package, file system or device) or a fault of ours;
2 the command line or the input; 3 the training failed; 128 + n after signal n. Faults that have a
known cause are one line on stderr; set ``S2S_FT_TRACEBACK=1`` to see where they come from.
Only the standard library is imported, so that ``--help`` answers at once.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, TextIO

from s2s_ft.options.parser import parse

__all__ = [
    "EnvironmentFault",
    "TrainingFault",
    "first_line",
    "listed",
    "parse",
    "run",
    "setup_logging",
    "standard_input",
    "standard_output",
]

LOG_HANDLER = "s2s_ft"
LAST_STANDARD_STREAM = 2
OUR_LOGGERS = ("s2s_ft", "__main__")  # a module run with python -m is called __main__


class EnvironmentFault(RuntimeError):  # noqa: N818 (a fault tells whose it is)
    """The machine is at fault: a package, a device or a file system is missing. Exit code 1."""


class TrainingFault(RuntimeError):  # noqa: N818
    """The training failed, for example with a loss that is not finite. Exit code 3."""


# The first class that fits counts; whatever is not here is a fault of ours, or tells of memory.
EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (KeyboardInterrupt, 128 + signal.SIGINT),
    (TrainingFault, 3),
    (ValueError, 2),
    (EnvironmentFault, 1),
    (OSError, 1),
    (ModuleNotFoundError, 1),
)

NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "status_alloc_failed",  # cuBLAS and cuDNN
    "cublas_status_not_initialized when calling `cublascreate",
)
"""What errors say for want of memory, in small letters."""


def run(main: Callable[[], int]) -> int:
    """Run a command and return its exit code, whatever it raises.

    SIGTERM ends the command in an orderly way, through `SystemExit`, unless it has another handler.
    """
    _fill_closed_streams()
    setup_logging()
    try:
        with _orderly_end_on_sigterm():
            code = _code_of(main)
            if sys.stdout is not None:
                sys.stdout.flush()  # a closed pipe is met here and not at the interpreter's end
            return code
    except BrokenPipeError:
        _drop_further_output()
        return 128 + signal.SIGPIPE
    except (KeyboardInterrupt, Exception) as fault:
        return _report(fault)


def standard_input() -> TextIO:
    """Standard input.

    Raises:
        EnvironmentFault: Whoever started the command closed it.
    """
    return _left_open(sys.stdin, "standard input")


def standard_output() -> TextIO:
    """Standard output, for what must not be lost.

    Raises:
        EnvironmentFault: Whoever started the command closed it.
    """
    return _left_open(sys.stdout, "standard output")


def tells_of_memory(fault: BaseException) -> bool:
    """Whether an error says that memory could not be had."""
    # torch's allocator for CPUs, and libraries that work on a GPU, have no class of their own.
    text = str(fault).lower()
    is_theirs = isinstance(fault, RuntimeError) and any(words in text for words in NO_MEMORY)
    return is_theirs or isinstance(fault, MemoryError)


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return str(error).strip().split("\n")[0] or type(error).__name__


def listed(names: Sequence[str], most: int) -> str:
    """The first `most` names, the rest counted."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def setup_logging(*, level: int = logging.INFO) -> None:
    """Log what this package says, from `level` on, to stderr: time and message.

    Other packages keep their own handlers; one on the root logger would print their lines twice.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(LOG_HANDLER)
    handler.setFormatter(_LogFormatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    for name in OUR_LOGGERS:
        ours = logging.getLogger(name)
        for older in [each for each in ours.handlers if each.get_name() == LOG_HANDLER]:
            ours.removeHandler(older)
        ours.addHandler(handler)
        ours.setLevel(level)


class _LogFormatter(logging.Formatter):
    """Puts the level before the message where it is more than news."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """The line of a record."""
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname.lower()}: {record.message}"
        return super().formatMessage(record)


def _left_open(stream: TextIO | None, name: str) -> TextIO:
    if stream is None:
        raise EnvironmentFault(f"{name} is closed: leave it open, or name a file")
    return stream


def _fill_closed_streams() -> None:
    """Take the numbers of standard streams that are closed, which else the next files that are
    opened would get, and in them whatever a library prints.
    """
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (number := os.open(os.devnull, os.O_RDWR)) <= LAST_STANDARD_STREAM:
            os.set_inheritable(number, True)  # noqa: FBT003 (takes no name)
        os.close(number)


@contextlib.contextmanager
def _orderly_end_on_sigterm() -> Iterator[None]:
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker, which has nothing to put in order
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise SystemExit(128 + number)

    try:
        replace = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if replace:
            signal.signal(signal.SIGTERM, end)
    except ValueError:  # only the main thread may set handlers
        replace = False
    try:
        yield
    finally:
        if replace and signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def signals_held_back() -> Iterator[Callable[[], None]]:
    """SIGTERM and SIGINT are obeyed only where the function that comes of it is called, and at the
    end.

    Their handlers raise wherever the main thread is. Where that is between taking a lock of a pool
    of threads and knowing that it is taken, the lock stays taken, and the pool waits for it.
    """
    before: dict[int, Any] = {}
    noted: list[int] = []

    def obey() -> None:
        if noted:
            put_back()
            signal.raise_signal(noted.pop())

    def put_back() -> None:
        while before:
            signal.signal(*before.popitem())

    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, lambda number, _: noted.append(number))
    try:
        yield obey
    finally:
        put_back()
        obey()


def _code_of(main: Callable[[], int]) -> int:
    """The command's exit code, also where argparse or a signal ends it through `SystemExit`."""
    try:
        return main()
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1


def _report(fault: BaseException) -> int:
    """Tell of a fault on stderr, in one line where its cause is known; returns the exit code."""
    code = next((code for kind, code in EXIT_CODES if isinstance(fault, kind)), None)
    if isinstance(fault, KeyboardInterrupt):
        message = "interrupted"
    elif isinstance(fault, ModuleNotFoundError):
        message = f"{fault}: install what requirements.txt lists (pip install -r requirements.txt)"
        code = None if (fault.name or "").split(".")[0] == "s2s_ft" else code
    elif code is None and tells_of_memory(fault):
        code = 1
        first_line = next(iter(str(fault).splitlines()), "")
        message = f"out of memory{f' ({first_line})' if first_line else ''}: ask for less at a time"
    else:
        message = " ".join(str(fault).split()) or type(fault).__name__
    if code is None or os.environ.get("S2S_FT_TRACEBACK") == "1":
        traceback.print_exception(fault)
    if code is None:
        return 1
    print(f"error: {message}", file=sys.stderr)
    return code


def _drop_further_output() -> None:
    """Whoever read our output has gone, as `head` does; what is left to print goes nowhere."""
    with contextlib.suppress(OSError, ValueError):  # a stand-in for stdout has no file number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
