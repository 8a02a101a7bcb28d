"""Flags that take one text or more."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from s2s_ft.cli import parse
from s2s_ft.options import as_dict, flag, flags_of
from s2s_ft.options.parser import build_parser


@dataclass(frozen=True, kw_only=True)
class Several:
    """A class with such flags."""

    files: tuple[str, ...] = field(metadata=flag("Files.", metavar="FILE"))
    more: tuple[str, ...] = field(default=(), metadata=flag("More of them."))
    name: str = field(default="x", metadata=flag("One text."))


def read(*arguments: str) -> Several:
    return parse(Several, arguments, "program", "")


def test_texts_become_a_tuple() -> None:
    assert read("--files", "a", "b", "--name", "n") == Several(files=("a", "b"), name="n")
    assert read("--files", "a", "--more", "c").more == ("c",)
    assert read("--files", "a", "--files", "b", "c").files == ("a", "b", "c")


@pytest.mark.parametrize("arguments", [[], ["--files"], ["--files", "--name", "n"]])
def test_at_least_one_is_needed(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read(*arguments)
    assert ended.value.code == 2


def test_a_config_file_holds_a_list(tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("files: [a, b]\n", encoding="utf-8")
    options = read("--config", str(path))
    assert options.files == ("a", "b")
    assert as_dict(options)["files"] == ("a", "b")
    assert read("--config", str(path), "--files", "c").files == ("c",)


@pytest.mark.parametrize("value", ["a", "[]", "[1]", "5"])
def test_anything_else_in_a_config_file_is_refused(value: str, tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(f"files: {value}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1: 'files': expected a list of texts"):
        read("--config", str(path))


def test_help_shows_them() -> None:
    text = build_parser(Several, "program", "").format_help()
    assert text.startswith("usage: program --files FILE … [options]")
    assert "More of them.\n" in text
    assert [each.many for each in flags_of(Several)] == [True, True, False]
