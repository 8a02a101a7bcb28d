"""The layer picture: imports only go down; files and functions stay small and documented.

    4  run_seq2seq.py  decode_seq2seq.py  scripts/  s2s_ft.commands   argv in, exit code out
       export  distill  push  serve
    3  train  decode  evaluation  trim  average  convert              procedures
    2  model                                                          tensors
    1  methods  corruption  layout  transfer  data  text              examples and token ids
    0  options  cli  storage                                          standard library only

The import statements are read, those inside functions and under TYPE_CHECKING included.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "s2s_ft"
LAYERS = {
    "options": 0,
    "cli": 0,
    "storage": 0,
    "methods": 1,
    "corruption": 1,
    "layout": 1,
    "transfer": 1,
    "data": 1,
    "text": 1,
    "model": 2,
    "train": 3,
    "decode": 3,
    "evaluation": 3,
    "trim": 3,
    "average": 3,
    "convert": 3,
    "export": 4,
    "distill": 4,
    "push": 4,
    "serve": 4,
    "commands": 4,
}
# Across the procedures, evaluation while training may call the search of decoding, and the sweep
# over length penalties may read its traces; nothing else.
ACROSS = {
    ("s2s_ft.train.evaluate", "s2s_ft.decode"),
    ("s2s_ft.train.evaluate", "s2s_ft.evaluation"),
    ("s2s_ft.evaluation.sweep", "s2s_ft.decode"),
}
# Within decoding; what is not named here lies between `lines` and `ways`.
DECODING = {"search": 0, "rules": 1, "lines": 2, "ways": 4, "run": 5}
LAZY_OUTSIDERS = {("s2s_ft.options.config_file", "yaml")}  # imported when a file is read
NAMES_WITHOUT_A_HOME = {"utils", "common", "helpers", "misc"}
SOURCES = sorted(PACKAGE.rglob("*.py"))
IN_C = sorted(PACKAGE.rglob("*.[ch]"))
ENTRY_POINTS = [ROOT / "run_seq2seq.py", ROOT / "decode_seq2seq.py"]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """The modules a file imports, wherever the statement stands; `from a import b` gives a.b."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layer(module: str) -> int:
    """The layer of a module of the package, by the room it is in."""
    room = module.split(".")[1]
    assert room in LAYERS, f"{module}: the layer picture has no room {room!r}"
    return LAYERS[room]


def room(module: str) -> str:
    return module.split(".")[1]


def is_ours(module: str) -> bool:
    return module.split(".")[0] == "s2s_ft"


def is_below(target: Path, module: str) -> bool:
    """Whether an arrow from a file to a module of the package goes down or stays in the room."""
    here = module_name(target)
    if module == "s2s_ft.__version__":
        return True
    if room(here) == room(module) or layer(module) < layer(here):
        return True
    same_low_layer = layer(module) == layer(here) and layer(here) in (0, 1)
    return same_low_layer or any(here == start and module.startswith(end) for start, end in ACROSS)


def rooms(paths: list[Path]) -> list[Path]:
    """The files that are in a room; the package's own __init__ is in none."""
    return [path for path in paths if path != PACKAGE / "__init__.py"]


def num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_arrows_only_go_down() -> None:
    up = [
        f"{identify(path)} reaches up or across to {module}"
        for path in rooms(SOURCES)
        for module in imports(path)
        if is_ours(module) and not is_below(path, module)
    ]
    assert up == []


def is_in_layer_0(path: Path) -> bool:
    return path == PACKAGE / "__init__.py" or layer(module_name(path)) == 0


def test_layer_0_needs_the_standard_library_only() -> None:
    outsiders = {
        (module_name(path), module.split(".")[0])
        for path in SOURCES
        if is_in_layer_0(path)
        for module in imports(path)
        if not is_ours(module) and module.split(".")[0] not in sys.stdlib_module_names
    }
    assert outsiders <= LAZY_OUTSIDERS


def test_text_does_not_use_the_rest_of_its_layer() -> None:
    """Within layer 1 the arrows have an order too: methods and data may use text, never back."""
    for path in SOURCES:
        if module_name(path).startswith("s2s_ft.text"):
            assert not [m for m in imports(path) if m.startswith(("s2s_ft.data", "s2s_ft.methods"))]


def floor(module: str) -> int:
    return DECODING.get(module.split(".")[2], 3)


def test_within_decoding_arrows_only_go_down() -> None:
    for path in SOURCES:
        name = module_name(path)
        if name.startswith("s2s_ft.decode."):
            ours = [module for module in imports(path) if module.startswith("s2s_ft.decode.")]
            up = [module for module in ours if floor(module) > floor(name)]
            assert not up, f"{identify(path)} reaches up to {up}"


def test_the_package_imports_nothing_eagerly() -> None:
    """What it offers comes when it is asked for, and for type checkers."""
    at_once = [
        node
        for node in parsed(PACKAGE / "__init__.py").body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert [node.module for node in at_once if isinstance(node, ast.ImportFrom)] == ["typing"]
    assert len(at_once) == 1


@pytest.mark.parametrize("path", ENTRY_POINTS, ids=identify)
def test_entry_points_are_thin(path: Path) -> None:
    assert [module for module in imports(path) if is_ours(module)] == [
        f"s2s_ft.commands.{'train' if path.stem == 'run_seq2seq' else 'decode'}_main"
    ]
    assert num_lines(path) <= 20


def test_files_are_small() -> None:
    files = [*SOURCES, *ENTRY_POINTS, *IN_C]
    assert [identify(path) for path in files if num_lines(path) > 300] == []


def test_files_say_what_they_hold() -> None:
    """A module opens with a docstring, a file in C with a comment."""
    silent = [path for path in SOURCES + ENTRY_POINTS if not ast.get_docstring(parsed(path))]
    silent += [path for path in IN_C if not path.read_text(encoding="utf-8").startswith("/* ")]
    assert [identify(path) for path in silent] == []


def test_files_have_a_home() -> None:
    homeless = [path for path in SOURCES if path.stem in NAMES_WITHOUT_A_HOME]
    assert [identify(path) for path in homeless] == []


def test_functions_are_short() -> None:
    long = []
    for path in SOURCES + ENTRY_POINTS:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                if (node.end_lineno or first) - first + 1 > 60:
                    long.append(f"{identify(path)}: {node.name}")
    assert long == []
