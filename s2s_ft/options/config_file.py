"""Reading a ``--config`` file: YAML whose keys are flag names, flat or under the groups' titles.

Every complaint names the file, the line and the key. JSON is YAML, so that the `train_options.json`
of a run is read too; what it holds beside the options (`COMPUTED`) is passed over. PyYAML is
imported when a file is read, not before.
"""

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from s2s_ft.options.flags import Flag

if TYPE_CHECKING:
    import yaml

COMPUTED = ("schedule", "batches")
"""Groups of `train_options.json` that tell what a run made of its options."""

_YAML = "tag:yaml.org,2002:"

SHOWN = 40
"""Letters of a value that a message shows."""


def read_config_file(path: str, flags: Sequence[Flag]) -> dict[str, Any]:
    """The values of a configuration file by flag name.

    Raises:
        ValueError: the file cannot be read, is no YAML mapping, or has a key that is unknown, given
            twice or of the wrong type.
    """
    by_name = {flag.name: flag for flag in flags}
    values: dict[str, Any] = {}
    for line, group, key, value in _entries(path, {flag.group for flag in flags if flag.group}):
        place = f"{path}, line {line}"
        if key not in by_name:
            raise ValueError(f"{place}: unknown key {key!r}{nearest(key, by_name)}")
        flag = by_name[key]
        if group is not None and flag.group != group:
            raise ValueError(f"{place}: {key!r} belongs under {flag.group!r}, not under {group!r}")
        if key in values:
            raise ValueError(f"{place}: {key!r} is given twice: remove one of the two")
        values[key] = _checked(flag, value, place)
    return values


def nearest(word: str, words: "Sequence[str] | dict[str, Any]") -> str:
    """A hint at the most similar of some words, empty where none is similar."""
    found = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def _entries(path: str, titles: set[str]) -> Iterator[tuple[int, str | None, str, Any]]:
    """Line, group title or None, key and value of every entry; reads the whole file first."""
    import yaml

    try:
        with open(path, encoding="utf-8-sig") as file:
            loader = yaml.SafeLoader(file.read())
    except OSError as error:
        raise ValueError(f"--config {path}: {error.strerror}: give a YAML file") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--config {path}: not readable as UTF-8 text: {error}") from error
    try:
        root = loader.get_single_node()
        if root is None:  # an empty file, or comments alone
            return
        for line, key, node in _pairs(path, loader, root):
            if key in titles:
                for inner_line, inner_key, inner_node in _pairs(path, loader, node):
                    value = _value(f"{path}, line {inner_line}: {inner_key!r}", loader, inner_node)
                    yield inner_line, key, inner_key, value
            elif key not in COMPUTED or not isinstance(node, yaml.MappingNode):
                yield line, None, key, _value(f"{path}, line {line}: {key!r}", loader, node)
    except yaml.YAMLError as error:
        raise ValueError(f"--config {path}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise ValueError(
            f"--config {path}: is nested too deeply: give lines of 'key: value'"
        ) from error


def _pairs(
    path: str, loader: "yaml.SafeLoader", node: "yaml.Node"
) -> Iterator[tuple[int, str, "yaml.Node"]]:
    import yaml

    if isinstance(node, yaml.ScalarNode) and node.tag == f"{_YAML}null":
        return  # a title with nothing below it
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        raise ValueError(f"{path}, line {line}: expected lines of the form 'key: value'")
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == f"{_YAML}merge":
            raise ValueError(f"{path}, line {line}: '<<' merges nothing here: write the keys out")
        yield line, str(_constructed(f"{path}, line {line}", loader, key_node)), value_node


def _value(place: str, loader: "yaml.SafeLoader", node: "yaml.Node") -> Any:
    """The value of a node, unless it is a number that only YAML 1.1 reads as it does."""
    value = _constructed(place, loader, node)
    if node.tag in (f"{_YAML}int", f"{_YAML}float"):
        digits = node.value.lstrip("+-")
        is_octal = node.tag == f"{_YAML}int" and len(digits) > 1 and digits[0] == "0"
        if ":" in digits or (is_octal and digits[1] not in "xb"):
            raise ValueError(
                f"{place}: {node.value} is {value} in YAML: write a number in decimal digits "
                "without a 0 before them, and text in quotes"
            )
    return value


def _constructed(place: str, loader: "yaml.SafeLoader", node: "yaml.Node") -> Any:
    """What a node says; PyYAML lets through what Python says of one that its tag does not fit."""
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, AttributeError) as error:
        kind = str(node.tag).rpartition(":")[2]
        text = repr(str(node.value)[:SHOWN]) if isinstance(node.value, str) else "what is there"
        raise ValueError(f"{place}: {text} cannot be read as !!{kind}") from error


def _checked(flag: Flag, value: Any, place: str) -> Any:
    if flag.kind is float and isinstance(value, str):
        # YAML 1.1 takes 5e-5, without a point, for text.
        with contextlib.suppress(ValueError):
            value = float(value)
    problem = flag.problem(value)
    if problem:
        raise ValueError(f"{place}: {flag.name!r}: {problem}")
    try:
        return float(value) if flag.kind is float and value is not None else value
    except OverflowError as error:
        raise ValueError(f"{place}: {flag.name!r}: the number is too large") from error
