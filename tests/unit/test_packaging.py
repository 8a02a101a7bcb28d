"""What is shipped: package metadata, requirements, console scripts and the sample of data."""

import ast
import gzip
import importlib
import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import s2s_ft

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it where the standard library has none

REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "examples" / "debsum"
EXTRAS = {
    "peft": {"peft"},
    "wandb": {"wandb"},
    "onnx": {"onnx", "onnxruntime", "onnxscript"},
    "serve": {"fastapi", "pydantic", "uvicorn"},
}
BROUGHT_BY_SERVE = EXTRAS["serve"] | {"h11", "starlette"}  # uvicorn and fastapi consist of these
NAME_OF_IMPORT = {"yaml": "pyyaml"}  # where a distribution is called otherwise than its package


def requirement_lines(path: str) -> list[Requirement]:
    lines = (REPOSITORY / path).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def project() -> dict[str, Any]:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    parsed: dict[str, Any] = tomllib.loads(text)
    return parsed


def sample(split: str) -> list[dict[str, str]]:
    with gzip.open(SAMPLE / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def imported_packages(path: Path, *, top_level: bool = False) -> set[str]:
    """What a file imports anywhere, or what it imports at once, outside of functions."""
    names: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


def test_every_requirement_has_a_floor_and_is_met_here() -> None:
    for requirement in requirement_lines("requirements.txt"):
        assert any(each.operator == ">=" for each in requirement.specifier), requirement
        assert requirement.specifier.contains(metadata.version(requirement.name)), requirement


def test_constraints_lie_within_the_requirements() -> None:
    ranges = {each.name: each.specifier for each in requirement_lines("requirements.txt")}
    for constraint in requirement_lines("scripts/constraints-cpu.txt"):
        (pin,) = constraint.specifier
        assert pin.operator == "=="
        assert ranges[constraint.name].contains(pin.version)


def distributions(imported: set[str]) -> set[str]:
    """What has to be installed for these imports."""
    third_party = imported - {"s2s_ft", "__future__"} - set(sys.stdlib_module_names)
    return {canonicalize_name(NAME_OF_IMPORT.get(name, name)) for name in third_party}


def extras() -> dict[str, list[Requirement]]:
    optional: dict[str, list[str]] = project()["project"]["optional-dependencies"]
    return {name: [Requirement(line) for line in lines] for name, lines in optional.items()}


def test_everything_imported_is_required() -> None:
    """Always, or, where a function imports it, by the extra of its name; the server by its own."""
    files = [*(REPOSITORY / "s2s_ft").rglob("*.py"), *REPOSITORY.glob("*_seq2seq.py")]
    of_the_server = [path for path in files if "serve" in path.parts]
    required = {canonicalize_name(each.name) for each in requirement_lines("requirements.txt")}
    others = [path for path in files if path not in of_the_server]
    at_once = set().union(*(imported_packages(path, top_level=True) for path in others))
    assert distributions(at_once) <= required
    imported = set().union(*map(imported_packages, others))
    assert distributions(imported) - required <= set().union(*EXTRAS.values())
    served = set().union(*map(imported_packages, of_the_server))
    assert distributions(served) - required <= BROUGHT_BY_SERVE


def test_extras_bring_what_they_are_named_after() -> None:
    assert extras().keys() == {*EXTRAS, "dev"}
    for name, packages in EXTRAS.items():
        assert {requirement.name for requirement in extras()[name]} == packages
        for requirement in extras()[name]:
            assert any(each.operator == ">=" for each in requirement.specifier), requirement
    # What the tests use of them; none brings a torch of its own choice.
    for requirement in [*extras()["peft"], *extras()["serve"], *extras()["onnx"]]:
        assert requirement in extras()["dev"]
        assert requirement.specifier.contains(metadata.version(requirement.name))


def test_the_other_apex_is_never_installed() -> None:
    assert all(each.name != "apex" for each in requirement_lines("requirements.txt"))
    for path in [*REPOSITORY.glob("scripts/*.sh"), *REPOSITORY.glob("*.md")]:
        assert not re.search(r"pip3? install [^\n]*\bapex\b", path.read_text(encoding="utf-8")), (
            path
        )


@pytest.mark.parametrize(
    "command",
    [
        "s2s-train",
        "s2s-decode",
        "s2s-evaluate",
        "s2s-rescore",
        "s2s-serve",
        "s2s-convert",
        "s2s-trim",
        "s2s-average",
        "s2s-export",
        "s2s-push",
    ],
)
def test_console_scripts_lead_to_functions(command: str) -> None:
    module, _, function = project()["project"]["scripts"][command].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_metadata_comes_from_one_place() -> None:
    content = project()
    assert sorted(content["project"]["dynamic"]) == ["dependencies", "version"]
    dynamic = content["tool"]["setuptools"]["dynamic"]
    assert dynamic["version"] == {"attr": "s2s_ft.__version__"}
    assert dynamic["dependencies"] == {"file": ["requirements.txt"]}
    assert re.fullmatch(r"\d+\.\d+\.\d+", s2s_ft.__version__)
    assert "requirements.txt" in (REPOSITORY / "MANIFEST.in").read_text(encoding="utf-8")
    assert len((REPOSITORY / "setup.py").read_text(encoding="utf-8").splitlines()) == 1


@pytest.mark.parametrize(("split", "count"), [("train", 24015), ("dev", 200), ("test", 200)])
def test_sample_rows_are_whole(split: str, count: int) -> None:
    rows = sample(split)
    assert len(rows) == count
    for row in rows:
        assert sorted(row) == ["id", "src", "tgt"]
        assert all(value.strip() and "\n" not in value for value in row.values())


def test_sample_splits_share_no_row_and_are_small() -> None:
    texts = {split: {row["src"] for row in sample(split)} for split in ("train", "dev", "test")}
    assert not texts["train"] & texts["dev"]
    assert not texts["train"] & texts["test"]
    assert not texts["dev"] & texts["test"]
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 5_000_000
