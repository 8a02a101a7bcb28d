"""`python -m s2s_ft.data.mixture`: what it writes and tells, and one line for each mistake."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.cli import run
from s2s_ft.data.examples import read_examples
from s2s_ft.data.mixture.__main__ import main

REPOSITORY = Path(__file__).parents[4]


def row(language: str, number: int) -> dict[str, Any]:
    return {"id": f"{language}-{number}", "src": f"Grüße\u2028 {number}", "tgt": "a", "n": 1e-7}


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows).encode("utf-8")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """90 English rows, 10 German ones (gzipped), with a line end or without."""
    english, german = tmp_path / "en=1.jsonl", tmp_path / "de.jsonl.gz"
    english.write_bytes(lines([row("en", n) for n in range(90)]).rstrip(b"\n"))
    german.write_bytes(gzip.compress(b"\xef\xbb\xbf" + lines([row("de", n) for n in range(10)])))
    return [f"en={english}", f"de={german}"]


def mixed(files: list[str], output: Path, *arguments: str) -> list[dict[str, Any]]:
    flags = ["--train_files", *files, "--output_file", str(output), *arguments]
    assert run(lambda: main(flags)) == 0
    list(read_examples(output))
    return [json.loads(line) for line in output.read_bytes().splitlines()]


def test_temperature_one_gives_every_row_once(files: list[str], tmp_path: Path) -> None:
    rows = mixed(files, tmp_path / "new" / "train.jsonl")
    ids = [each["id"] for each in rows]
    assert sorted(ids) == sorted([f"en-{n}" for n in range(90)] + [f"de-{n}" for n in range(10)])
    assert ids != sorted(ids)
    for each in rows:
        language, number = each["id"].split("-")
        assert each == {**row(language, int(number)), "language": language}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["train.jsonl"]


def test_rare_languages_are_repeated_and_told_of(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--temperature", "inf", "--num_rows", "70")
    rows = mixed(files, tmp_path / "train.jsonl", *arguments)
    times = Counter(each["id"] for each in rows)
    assert Counter(each["language"] for each in rows) == {"en": 35, "de": 35}
    assert {times[f"de-{n}"] for n in range(10)} == {3, 4}
    assert {times[f"en-{n}"] for n in range(90)} == {0, 1}
    told = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert ["de", "10", "35", "50.0", "%", "3.50"] in told
    assert ["en", "90", "35", "50.0", "%", "0.39"] in told


def test_the_same_seed_gives_the_same_bytes(files: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "two", "three")]
    for path, seed in zip(paths, "778", strict=True):
        mixed(files, path, "--temperature", "3", "--seed", seed)
    one, two, three = (path.read_bytes() for path in paths)
    assert one == two != three


def test_a_language_in_the_row_stays(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines([{"src": ["a", "b"], "tgt": "x", "language": "en-GB"}]))
    (only,) = mixed([f"en={path}"], tmp_path / "out")
    assert only == {"src": ["a", "b"], "tgt": "x", "language": "en-GB"}


def test_a_language_without_rows_is_warned_of(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed(files, tmp_path / "out", "--num_rows", "2")
    assert "warning: no row of de is drawn" in capsys.readouterr().err


GOOD = '{"src": "a", "tgt": "b"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + "{\n", "line 2: not JSON"),
        (GOOD + '{"src": "a"}\n', "line 2: no 'tgt' (keys here: 'src')"),
        (GOOD + '{"src": " ", "tgt": "b"}\n', "line 2: 'src' is empty"),
        (GOOD + '{"src": null, "tgt": "b"}\n', "line 2: 'src' is null"),
        (GOOD + '{"src": "a", "tgt": "b", "language": 3}\n', "line 2: 'language' is no text"),
        (GOOD + "\n" + GOOD, "line 2: the line is blank"),
        ("", "holds no rows"),
        (None, "there is no such file"),
    ],
)
def test_bad_rows_name_file_and_line(
    content: str | None,
    message: str,
    files: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, output = tmp_path / "ru.jsonl", tmp_path / "out"
    if content is not None:
        path.write_text(content)
    output.write_text("as before")
    before = sorted(tmp_path.iterdir())
    flags = ["--train_files", *files, f"ru={path}", "--output_file", str(output)]
    assert run(lambda: main(flags)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --train_files {path}")
    assert message in error
    assert error.count("\n") == 1
    assert output.read_text() == "as before"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train_files", "en.jsonl"], "write LANGUAGE=FILE"),
        (["--train_files", "=en.jsonl"], "write LANGUAGE=FILE"),
        (["--train_files", "en=a", "en=b"], "en has a file already"),
        (["--train_files", "en=./out"], "--output_file out: is what --train_files reads"),
        (["--temperature", "0"], "--temperature is 0.0"),
        (["--temperature", "nan"], "--temperature is nan"),
        (["--num_rows", "0"], "--num_rows is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--output_file", "x.jsonl.gz"], "is written plain"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_flags_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [] if "--train_files" in arguments else ["--train_files", "en=a"]
    output = [] if "--output_file" in arguments else ["--output_file", "out"]
    assert run(lambda: main([*missing, *output, *arguments])) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from s2s_ft.data.mixture.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([name for name in ('numpy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert "LANGUAGE=FILE" in done.stdout
    assert done.stdout.endswith("[]\n")
