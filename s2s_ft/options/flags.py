"""Options dataclasses <-> lists of flags <-> plain dicts.

An options class has fields that are flags, and fields that are groups: dataclasses of flags. Flags
are flat, so their names are unique within a class. A flag's type is one of str, int, float, bool, a
Literal of texts, one of these or None, or a tuple of any number of texts; a field without a default
is a required flag, and a bool is a switch.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

OBSOLETE_HELP = "No effect any more; accepted for the sake of old commands."


class Dataclass(Protocol):
    """Any instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


Options = TypeVar("Options", bound=Dataclass)


def flag(
    help: str = "",
    *aliases: str,
    obsolete: bool = False,
    metavar: str | None = None,
    older_name_of: str | None = None,
) -> dict[str, Any]:
    """Describe a flag: the `metadata` of its field.

    Args:
        help: what the flag does, in one sentence; not needed for an obsolete flag.
        aliases: further spellings, dashes included, such as ``--local-rank``.
        obsolete: the flag is accepted without effect, and whoever gives it is told so.
        metavar: what stands for the value in the help text.
        older_name_of: the flag that says the same in other words.
    """
    return {
        "help": OBSOLETE_HELP if obsolete else help,
        "aliases": aliases,
        "obsolete": obsolete,
        "metavar": metavar,
        "older_name_of": older_name_of,
    }


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag of an options class.

    Attributes:
        name: without dashes; also the key in a configuration file.
        group: the title of its group, None for a flag that is in none.
        kind: str, int, float or bool; str where there are choices.
        choices: the texts that may be given, None for any.
        optional: whether the value may be None.
        many: whether it takes one text or more, as a tuple.
        default: the value where none is given; None for a required flag.
        older_name_of: the name of the flag that says the same in other words, or None.
    """

    name: str
    group: str | None
    kind: type
    choices: tuple[str, ...] | None
    optional: bool
    required: bool
    default: Any
    help: str
    aliases: tuple[str, ...]
    obsolete: bool
    metavar: str | None
    many: bool = False
    older_name_of: str | None = None

    def problem(self, value: object) -> str | None:
        """What is wrong with the type of a value from a file; None when nothing is."""
        if value is None:
            return None if self.optional else f"expected {self.expected}, found nothing"
        if self.choices is not None:
            return None if value in self.choices else f"expected {self.expected}, found {value!r}"
        if self.many:
            fits = isinstance(value, list) and all(isinstance(each, str) for each in value)
            return None if fits and value else f"expected {self.expected}, found {value!r}"
        allowed = (int, float) if self.kind is float else self.kind
        # bool is a subclass of int, but true is no number.
        fits = isinstance(value, allowed) and (self.kind is bool or not isinstance(value, bool))
        return None if fits else f"expected {self.expected}, found {value!r}"

    @property
    def expected(self) -> str:
        """The values the flag takes, in words."""
        if self.choices is not None:
            return "one of " + ", ".join(self.choices)
        if self.many:
            return "a list of texts"
        words = {str: "text (in quotes)", int: "a whole number", float: "a number"}
        return words.get(self.kind, "true or false")


def groups_of(options_class: type[Dataclass]) -> dict[str, type[Dataclass]]:
    """The groups of an options class, by title, in order."""
    hints = typing.get_type_hints(options_class)
    fields = dataclasses.fields(options_class)
    return {f.name: hints[f.name] for f in fields if dataclasses.is_dataclass(hints[f.name])}


def flags_of(options_class: type[Dataclass]) -> list[Flag]:
    """All flags of an options class, in order."""
    groups = groups_of(options_class)
    hints = typing.get_type_hints(options_class)
    flags: list[Flag] = []
    for field in dataclasses.fields(options_class):
        if field.name not in groups:
            flags.append(_flag_of_field(field, hints[field.name], None))
            continue
        group = groups[field.name]
        group_hints = typing.get_type_hints(group)
        for inner in dataclasses.fields(group):
            flags.append(_flag_of_field(inner, group_hints[inner.name], field.name))
    names = [flag.name for flag in flags]
    assert len(set(names)) == len(names), f"{options_class.__name__} has a flag twice"
    return flags


def build(options_class: type[Options], values: Mapping[str, Any]) -> Options:
    """Make an options object from flat values by flag name; the rest gets its default.

    Raises:
        ValueError: a value is out of range; the message names the flag.
    """
    groups = groups_of(options_class)
    for name, value in values.items():
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"--{name} holds a NUL character, which no name can: take it out")
    # A list of texts becomes a tuple, as nothing in options changes.
    values = {name: tuple(x) if isinstance(x, list) else x for name, x in values.items()}
    arguments = {name: values[name] for name in _own_names(options_class) & values.keys()}
    for title, group in groups.items():
        inner = {name: values[name] for name in _own_names(group) & values.keys()}
        arguments[title] = group(**inner)
    return options_class(**arguments)


def as_dict(options: Dataclass) -> dict[str, Any]:
    """All options as plain values, groups as dicts; what a ``--config`` file may hold."""
    return dataclasses.asdict(options)


def _own_names(options_class: type[Dataclass]) -> set[str]:
    return {field.name for field in dataclasses.fields(options_class)}


def _flag_of_field(field: "dataclasses.Field[Any]", hint: Any, group: str | None) -> Flag:
    many = typing.get_origin(hint) is tuple
    assert not many or typing.get_args(hint) == (str, ...), f"{field.name}: a tuple holds texts"
    members = typing.get_args(hint) if _is_union(hint) else (str if many else hint,)
    kinds = [member for member in members if member is not types.NoneType]
    assert len(kinds) == 1, f"{field.name}: a flag has one type, or one type or None"
    is_literal = typing.get_origin(kinds[0]) is typing.Literal
    kind = str if is_literal else kinds[0]
    assert kind in (str, int, float, bool), f"{field.name}: no flag can be of type {kind}"
    required = field.default is dataclasses.MISSING
    return Flag(
        name=field.name,
        group=group,
        kind=kind,
        choices=typing.get_args(kinds[0]) if is_literal else None,
        optional=len(members) > 1,
        required=required,
        default=None if required else field.default,
        many=many,
        **field.metadata,
    )


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)
