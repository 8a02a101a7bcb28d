"""Trying a model by hand: a source is typed, its outputs are shown (`--interactive`).

    > the debian installer for embedded systems
    1   -3.214  debian installer
        0.08 s
    > :set num_beams 3

Notable: what is typed is read line by line, with a history where Python has readline; from a pipe
it is read, too, without a prompt. A mistake costs a line that says so, and nothing else. With
`--tokenized_input` a source is tokens with spaces between, as in a file of rows.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from s2s_ft.cli import EnvironmentFault, standard_input, standard_output
from s2s_ft.decode.defaults import EVERY_OTHER_OPTION, FLAG_OF_NAME
from s2s_ft.decode.generator import Generator
from s2s_ft.text.codec import check_characters

logger = logging.getLogger(__name__)

PROMPT = "> "
HELP = """\
Type a source to see its outputs, best first, with their scores.
  :set NAME VALUE    set an option, such as   :set num_beams 5
  :set NAME          take that back
  :options           show what is set, and the names there are
  :prefix TEXT       how outputs begin; without TEXT they are free again
  :help              this text
  :quit, Ctrl-D      leave"""


class Session:
    """What was set so far, and what is done with a line.

    Args:
        generator: The model.
        tokenized: Whether sources are tokens with spaces between, which are only looked up.
    """

    def __init__(self, generator: Generator, *, tokenized: bool = False) -> None:
        """Begin with nothing typed and nothing set."""
        self._generator = generator
        self._tokenized = tokenized
        self._options: dict[str, Any] = {}
        self._prefix = ""
        self._commands: dict[str, Callable[[str], Iterator[str]]] = {
            ":set": self._set,
            ":options": self._show,
            ":prefix": self._begin_with,
            ":help": lambda rest: iter([HELP]),
        }

    def answer(self, line: str) -> Iterator[str]:
        """The lines to show for what was typed.

        Raises:
            EOFError: the user leaves.
        """
        try:
            check_characters(line.strip())
        except ValueError as fault:  # what is said of such a line could not be shown, either
            yield _told(fault)
            return
        word, _, rest = line.strip().partition(" ")
        if word in (":quit", ":q", ":exit"):
            raise EOFError
        if word.startswith(":"):
            command = self._commands.get(word)
            yield from (
                [f"no command {word}; :help lists them"]
                if command is None
                else command(rest.strip())
            )
        elif word:
            yield from self._outputs(line.strip())

    def _outputs(self, source: str) -> Iterator[str]:
        started = time.monotonic()
        try:
            (outputs,) = self._generator.generate(
                [source.split() if self._tokenized else source],
                prefixes=[self._prefix],
                **self._options,
            )
        except (ValueError, EnvironmentFault) as fault:
            yield _told(fault)
            return
        seconds = time.monotonic() - started
        for number, output in enumerate(outputs, start=1):
            score = "" if output.score is None else f"{output.score:.3f}"
            yield f"{number:<3} {score:>8}  {output.text}"
        yield f"    {seconds:.2f} s"

    def _set(self, rest: str) -> Iterator[str]:
        name, _, text = rest.partition(" ")
        if name not in FLAG_OF_NAME and name not in EVERY_OTHER_OPTION:
            yield f"no option {name or '(none named)'}; :options lists them"
            return
        before = dict(self._options)
        self._options.pop(name, None)
        if text:
            self._options[name] = _value(text.strip())
        try:
            self._generator.check(**self._options)
        except ValueError as fault:
            self._options = before
            yield _told(fault)

    def _show(self, rest: str) -> Iterator[str]:
        for name, value in self._options.items():
            yield f"{name} {value}"
        yield f"names: {' '.join([*FLAG_OF_NAME, *EVERY_OTHER_OPTION])}"

    def _begin_with(self, rest: str) -> Iterator[str]:
        self._prefix = rest
        yield f"outputs begin with: {rest}" if rest else "outputs begin as they like"


def talk(generator: Generator, *, tokenized: bool = False) -> None:
    """Read and answer until the input ends or the user leaves.

    Args:
        generator: The model.
        tokenized: Whether sources are tokens with spaces between (`--tokenized_input`).

    Raises:
        EnvironmentFault: Standard input or output is closed.
    """
    session = Session(generator, tokenized=tokenized)
    standard_output()
    if standard_input().isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 gives input() its history
        print("Type a source as tokens, or :help." if tokenized else "Type a source, or :help.")
    for line in _typed():
        try:
            for shown in session.answer(line):
                print(shown, flush=True)
        except EOFError:
            return


def _typed() -> Iterator[str]:
    """What is typed, line by line."""
    if not sys.stdin.isatty():
        if isinstance(sys.stdin, io.TextIOWrapper):  # what is not UTF-8 spoils its own line only
            sys.stdin.reconfigure(errors="surrogateescape")
        yield from sys.stdin
        return
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            print()
            return


def _told(fault: Exception) -> str:
    """A mistake, in one line."""
    return f"error: {' '.join(str(fault).split())}"


def _value(text: str) -> Any:
    """What a typed value means: a number, true, a list, or the text itself."""
    try:
        return json.loads(text)
    # ValueError also covers a number of thousands of digits, RecursionError brackets as deep.
    except (ValueError, RecursionError):
        return text
