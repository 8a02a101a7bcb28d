"""The table that a recipe ends with, and RESULTS.md with the published figures.

The one is made by `scripts/results_row.py`; of the other, every figure must name its source and
every command that would fill a row must be one that the recipes take.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
Table = list[dict[str, str]]


def scores(path: Path, **values: float) -> Path:
    found = {name: {"value": value} for name, value in values.items()}
    path.write_text(json.dumps({"num_examples": 20, "scores": found}))
    return path


def metrics(path: Path, *lines: dict[str, object]) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(text + '{"kind": "train", "step": 9, "seco')  # what a kill leaves
    return path


def add(
    table: Path, *arguments: object, backbone: str = "tiny"
) -> subprocess.CompletedProcess[str]:
    given = ["--task", "xsum", "--backbone", backbone, "--method", "causal", "--seed", "1"]
    command = [sys.executable, "scripts/results_row.py", "--table", str(table), *given]
    return subprocess.run(
        [*command, "--command", "scripts/xsum.sh", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def tables(text: str) -> Iterator[Table]:
    """Every table of a text, its rows by column."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = block.splitlines()
        yield [dict(zip(cells(head), cells(row), strict=True)) for row in rows]


def rows(path: Path) -> Table:
    (table,) = tables(path.read_text(encoding="utf-8"))
    return table


def test_time_adds_up_and_memory_is_the_most(tmp_path: Path) -> None:
    told = metrics(
        tmp_path / "metrics.jsonl",
        {"kind": "train", "step": 2, "seconds": 3000.4, "peak_memory_bytes": 3 << 30},
        {"kind": "look", "step": 2, "seconds": 500.0},
        {"kind": "train", "step": 4, "seconds": 900.0, "peak_memory_bytes": 2 << 30},
    )
    test = scores(tmp_path / "test.json", rouge1=40.4321)
    assert add(tmp_path / "table.md", "--scores", test, "--metrics", told).returncode == 0
    (row,) = rows(tmp_path / "table.md")
    assert (row["training time"], row["peak memory"]) == ("1 h 05 min", "3 GiB")
    assert (row["rouge1"], row["rouge2"], row["rows"]) == ("40.43", "", "20")
    assert row["command"] == "`scripts/xsum.sh`"


@pytest.mark.parametrize("lines", [None, []])
def test_without_lines_of_training_the_cells_stay_empty(
    lines: list[dict[str, object]] | None, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    if lines is not None:
        metrics(path, *lines)
    test = scores(tmp_path / "test.json", rouge1=1)
    assert add(tmp_path / "table.md", "--scores", test, "--metrics", path).returncode == 0
    (row,) = rows(tmp_path / "table.md")
    assert (row["training time"], row["peak memory"]) == ("", "")


def test_a_run_replaces_its_own_rows_and_no_others(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    for value, arguments in ((1, ()), (2, ("--variant", "en")), (3, ()), (4, ("--variant", "en"))):
        done = add(table, "--scores", scores(tmp_path / "test.json", bleu=value), *arguments)
        assert done.returncode == 0, done.stderr
    add(table, "--scores", scores(tmp_path / "test.json", bleu=5), backbone="other")
    found = [(row["backbone"], row["variant"], row["bleu"]) for row in rows(table)]
    assert found == [("tiny", "", "3.00"), ("tiny", "en", "4.00"), ("other", "", "5.00")]


def test_languages_have_a_mean(tmp_path: Path) -> None:
    files = [scores(tmp_path / f"dev.{name}.json", bleu=x) for name, x in (("de", 2), ("en", 5))]
    add(tmp_path / "table.md", "--scores", *files)
    found = {row["split"]: (row["bleu"], row["rows"]) for row in rows(tmp_path / "table.md")}
    assert found == {
        "dev.de": ("2.00", "20"),
        "dev.en": ("5.00", "20"),
        "dev.mean": ("3.50", "40"),
    }


def test_another_file_is_never_overwritten(tmp_path: Path) -> None:
    table = tmp_path / "RESULTS.md"
    table.write_text((REPOSITORY / "RESULTS.md").read_text(encoding="utf-8"), encoding="utf-8")
    before = table.read_bytes()
    done = add(table, "--scores", scores(tmp_path / "test.json", bleu=1))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --table {table}: ")
    assert table.read_bytes() == before


def results() -> str:
    return (REPOSITORY / "RESULTS.md").read_text(encoding="utf-8")


def test_every_published_figure_has_its_source() -> None:
    published = [row for table in tables(results()) for row in table if "source" in row]
    assert len(published) > 40
    for row in published:
        assert row["system"]
        assert row["source"]


def test_what_has_not_been_run_names_a_command_that_would(tmp_path: Path) -> None:
    commands = re.findall(r"not run yet: `([^`]+)`", results())
    assert len(commands) > 10
    environment = {**os.environ, "GPUS": "0"}
    for command in sorted(set(commands)):
        words = f"{command} --dry-run --output {tmp_path}"
        done = subprocess.run(
            ["bash", "-c", words], cwd=REPOSITORY, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stderr)


def test_the_place_of_debsum_is_marked_once() -> None:
    start, end = (results().index(f"<!-- {mark}debsum -->") for mark in ("", "/"))
    assert results().count("debsum -->") == 2
    assert results().rindex("## DebSum") < start < end
