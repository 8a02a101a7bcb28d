"""From argv to an options object: argparse, built from the dataclass, over a ``--config`` file.

Notable: flags keep their underscores, may not be abbreviated, and take negative numbers in every
notation and in lists; a switch takes no value, but ``--switch=false`` takes back what the
configuration file says; all defaults stay in the dataclass, so that argparse only tells what was
given.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from s2s_ft.options.config_file import nearest, read_config_file
from s2s_ft.options.flags import Dataclass, Flag, build, flags_of, groups_of
from s2s_ft.storage.output_file import keep_config

logger = logging.getLogger(__name__)

Options = TypeVar("Options", bound=Dataclass)

EPILOG = (
    "A flag that is given overrides the --config file; --FLAG=false takes back a switch that the "
    "file sets. Exit codes: 0 done, 1 environment, 2 command line or input, 3 training failed, "
    "128 + n after signal n."
)


def parse(
    options_class: type[Options], argv: Sequence[str] | None, program: str, description: str
) -> Options:
    """Read a command line.

    Args:
        options_class: what to make; its fields are the flags.
        argv: the arguments without the program's name; None: those of this process.
        program: its name, as shown.
        description: what it does, in one sentence.

    Raises:
        ValueError: a value is out of range, or something is wrong in the ``--config`` file.
        SystemExit: 0 after ``--help``; 2 for an unknown or missing flag or a value of the wrong
            type.
    """
    flags = flags_of(options_class)
    parser = build_parser(options_class, program, description)
    arguments = _join_negative_numbers(list(sys.argv[1:] if argv is None else argv))
    _refuse_values_of_switches(parser, arguments, flags)
    namespace, unknown = parser.parse_known_args(arguments)
    given = vars(namespace)
    if unknown:
        _refuse_unknown(parser, unknown, arguments, flags)
    config_path = given.pop("config", None)
    keep_config(config_path)
    from_file = {} if config_path is None else read_config_file(config_path, flags)
    values = {**_not_overridden(from_file, given, flags), **given}
    missing = [f"--{flag.name}" for flag in flags if flag.required and flag.name not in values]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    _warn_of_obsolete(flags, given, from_file)
    return build(options_class, values)


def _not_overridden(
    from_file: dict[str, Any], given: dict[str, Any], flags: Sequence[Flag]
) -> dict[str, Any]:
    """What a file says, but for what the command line says by the other of two names."""
    pairs = [(flag.name, flag.older_name_of) for flag in flags if flag.older_name_of is not None]
    names = dict(pairs) | {newer: older for older, newer in pairs}
    return {name: value for name, value in from_file.items() if names.get(name) not in given}


def build_parser(
    options_class: type[Dataclass], program: str, description: str
) -> argparse.ArgumentParser:
    """The argparse parser of an options class: one titled group per group, no defaults."""
    flags = flags_of(options_class)
    required = " ".join(
        f"--{flag.name} {_metavar(flag)}{' …' * flag.many}" for flag in flags if flag.required
    )
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} {required} [options]" if required else f"{program} [options]",
        description=description,
        epilog=EPILOG,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file with any of the flags, flat or by group."
    )
    sections: dict[str | None, argparse._ArgumentGroup] = {
        title: parser.add_argument_group(title, _first_line(group))
        for title, group in groups_of(options_class).items()
    }
    for flag in flags:
        _add_flag(sections.get(flag.group, parser), flag)
    return parser


def _add_flag(section: argparse._ActionsContainer, flag: Flag) -> None:
    spellings = (f"--{flag.name}", *flag.aliases)
    if flag.kind is bool:
        section.add_argument(
            *spellings,
            dest=flag.name,
            action="store_true",
            default=argparse.SUPPRESS,
            help=_help(flag),
        )
        for word, value in (("true", True), ("false", False)):
            section.add_argument(
                f"--{flag.name}={word}",
                dest=flag.name,
                action="store_const",
                const=value,
                default=argparse.SUPPRESS,
                help=argparse.SUPPRESS,
            )
        return
    several: dict[str, Any] = {"nargs": "+", "action": "extend"} if flag.many else {}
    section.add_argument(
        *spellings,
        dest=flag.name,
        type=flag.kind,
        choices=flag.choices,
        metavar=None if flag.choices else _metavar(flag),
        help=_help(flag),
        **several,
    )


def _help(flag: Flag) -> str:
    text = flag.help
    if flag.required:
        text += " (required)"
    elif flag.kind is not bool and flag.default not in (None, "", ()) and not flag.obsolete:
        text += f" (default: {flag.default})"
    return text.replace("%", "%%")


def _metavar(flag: Flag) -> str:
    return flag.metavar or {int: "N", float: "X"}.get(flag.kind, "TEXT")


def _first_line(group: type[Dataclass]) -> str:
    return (group.__doc__ or "").strip().splitlines()[0]


def _join_negative_numbers(arguments: list[str]) -> list[str]:
    """``--flag -1e-3`` as ``--flag=-1e-3``; argparse takes some notations for flags, and lists."""
    joined: list[str] = []
    for argument in arguments:
        follows_flag = bool(joined) and joined[-1].startswith("--") and "=" not in joined[-1]
        if follows_flag and argument.startswith("-"):
            with contextlib.suppress(ValueError):
                [float(part) for part in argument.split(",")]
                joined[-1] += f"={argument}"
                continue
        joined.append(argument)
    return joined


def _refuse_unknown(
    parser: argparse.ArgumentParser,
    unknown: list[str],
    arguments: list[str],
    flags: Sequence[Flag],
) -> NoReturn:
    names = [word.split("=")[0] for word in unknown if word.startswith("-")]
    if not names:
        before = arguments[arguments.index(unknown[0]) - 1]
        if before in _switches(flags):
            _refuse_value(parser, before, unknown[0])
        parser.error(f"unexpected argument {unknown[0]!r}: every value follows its --flag")
    known = [f"--{flag.name}" for flag in flags] + ["--config", "--help"]
    parser.error("; ".join(f"unknown flag {name}{nearest(name, known)}" for name in names))


def _refuse_values_of_switches(
    parser: argparse.ArgumentParser, arguments: Sequence[str], flags: Sequence[Flag]
) -> None:
    """Say what argparse calls an ignored explicit argument."""
    switches = _switches(flags)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in switches and value not in ("true", "false"):
            _refuse_value(parser, name, f"={value}")


def _refuse_value(parser: argparse.ArgumentParser, switch: str, value: str) -> NoReturn:
    parser.error(
        f"{switch} is a switch, which takes no value: leave {value!r} out, or write "
        f"{switch}=true or {switch}=false"
    )


def _switches(flags: Sequence[Flag]) -> set[str]:
    return {f"--{flag.name}" for flag in flags if flag.kind is bool}


def _warn_of_obsolete(
    flags: Sequence[Flag], given: dict[str, Any], from_file: dict[str, Any]
) -> None:
    """Say once which flags have no effect; a file may hold them at their defaults.

    Of several processes that torchrun has started with one command line, the first one says it.
    """
    if "WORLD_SIZE" in os.environ and os.environ.get("RANK", "0") != "0":
        return
    for flag in flags:
        if flag.obsolete and (
            flag.name in given or from_file.get(flag.name, flag.default) != flag.default
        ):
            logger.warning("--%s has no effect any more and can be left out", flag.name)
