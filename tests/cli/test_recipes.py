"""The recipes of the published benchmarks: their plans, and what a plan must not do.

Each plan (`--dry-run`) is printed as commands; every one must be one that our own parsers take. The
whole way with a tiny model is `--smoke`, one of which runs in `tests/cli/test_recipe_smoke.py`.
"""

import os
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from s2s_ft.cli import parse
from s2s_ft.data.mixture.options import MixtureOptions
from s2s_ft.data.prepare.options import PrepareOptions, TaskName, with_name_flag
from s2s_ft.data.prepare.tasks import TASKS
from s2s_ft.evaluation.options import EvaluationOptions
from s2s_ft.options import DecodeOptions, TrainOptions

REPOSITORY = Path(__file__).parents[2]
RECIPES = (
    "cnndm",
    "xsum",
    "gigaword",
    "squad_qg",
    "xglue_ntg",
    "xglue_qg",
    "multilingual_debsum",
)
OPTIONS_OF = {
    "s2s_ft.data.prepare": PrepareOptions,
    "s2s_ft.data.mixture": MixtureOptions,
    "run_seq2seq.py": TrainOptions,
    "decode_seq2seq.py": DecodeOptions,
    "s2s_ft.evaluation": EvaluationOptions,
}
CHOSEN_BY_USERS = {
    "BACKBONE",
    "FIX_WORD_EMBEDDING",
    "GPUS",
    "LANGUAGES",
    "METHOD",
    "MODEL",
    "PER_DEVICE",
    "RESULTS",
    "SEED",
    "SPLIT",
    "TEMPERATURE",
    "TRAIN_LANGUAGES",
}


def run_recipe(
    name: str, *arguments: str, where: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in CHOSEN_BY_USERS}
    return subprocess.run(
        ["bash", str(REPOSITORY / "scripts" / f"{name}.sh"), *arguments],
        env={"GPUS": "0", **kept, **environment},
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
    )


def plan(
    name: str, *arguments: str, where: Path | None = None, **environment: str
) -> list[list[str]]:
    """The commands of a plan, as words."""
    done = run_recipe(name, "--dry-run", *arguments, where=where, **environment)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def parsed(command: list[str]) -> tuple[str, object] | None:
    """The program of a command and its options; None where it is none of ours."""
    for place, word in enumerate(command):
        if options_class := OPTIONS_OF.get(word):
            arguments = with_name_flag(command[place + 1 :])
            return word, parse(options_class, arguments, word, "")
    return None


def of(program: str, commands: list[list[str]]) -> list[object]:
    found = [each for each in map(parsed, commands) if each is not None]
    return [options for name, options in found if name == program]


def backbones() -> list[str]:
    done = run_recipe("xsum", "--help")
    listed = done.stdout.split("Backbones:\n")[1].split("\n\n")[0]
    return listed.split()


@pytest.mark.parametrize("name", RECIPES)
def test_every_command_of_a_plan_parses(name: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    commands = plan(name, "--output", str(output))
    programs = [each[0] for each in map(parsed, commands) if each is not None]
    if name.startswith(("xglue", "multilingual")):
        assert programs.pop(1) == "s2s_ft.data.mixture"
    assert programs[:2] == ["s2s_ft.data.prepare", "run_seq2seq.py"]
    assert programs[2:] == ["decode_seq2seq.py", "s2s_ft.evaluation"] * (len(programs[2:]) // 2)
    assert len(programs) >= 6
    assert not output.exists()


@pytest.mark.parametrize("name", RECIPES)
def test_a_smoke_plan_asks_for_nothing_but_the_repository(name: str, tmp_path: Path) -> None:
    commands = plan(name, "--smoke", "--output", str(tmp_path / "output"))
    (data,) = of("s2s_ft.data.prepare", commands)
    assert isinstance(data, PrepareOptions)
    assert data.from_files is not None
    assert (REPOSITORY / data.from_files).is_dir()
    assert data.languages in ((), ("en", "de"))  # the miniatures have no others
    (training,) = of("run_seq2seq.py", commands)
    assert isinstance(training, TrainOptions)
    assert training.model.model_name_or_path.startswith(str(tmp_path))
    assert training.runtime.no_cuda


@pytest.mark.parametrize("name", ["cnndm", "xsum", "squad_qg", "xglue_qg"])
def test_every_backbone_has_settings(name: str, tmp_path: Path) -> None:
    for backbone in backbones():
        commands = plan(name, "--output", str(tmp_path), BACKBONE=backbone, MODEL="somewhere")
        (training,) = of("run_seq2seq.py", commands)
        assert isinstance(training, TrainOptions)
        assert training.model.model_name_or_path == "somewhere"


def test_published_settings_of_xsum(tmp_path: Path) -> None:
    arguments = ("--output", str(tmp_path), "--backbone", "unilm1.2-base-uncased")
    commands = plan("xsum", *arguments, MODEL="here")
    (training,) = of("run_seq2seq.py", commands)
    decoding = of("decode_seq2seq.py", commands)[-1]
    assert isinstance(training, TrainOptions)
    assert isinstance(decoding, DecodeOptions)
    optimization = training.optimization
    assert (optimization.learning_rate, optimization.global_batch_size) == (7e-5, 64)
    assert (optimization.num_warmup_steps, optimization.num_training_steps) == (500, 32_000)
    assert (training.data.max_source_seq_length, training.data.max_target_seq_length) == (464, 48)
    assert (decoding.search.beam_size, decoding.search.length_penalty) == (5, 0)
    assert decoding.search.forbid_duplicate_ngrams
    assert decoding.data.max_seq_length == 512


def test_an_unpublished_place_must_be_named(tmp_path: Path) -> None:
    done = run_recipe(
        "xsum", "--dry-run", "--output", str(tmp_path), BACKBONE="unilm2-base-uncased"
    )
    assert done.returncode == 2
    assert "MODEL=DIR" in done.stderr


def test_many_gpus_go_through_torchrun(tmp_path: Path) -> None:
    commands = plan("xsum", "--output", str(tmp_path), GPUS="4")
    training = next(command for command in commands if "run_seq2seq.py" in command)
    assert training[1:5] == ["-m", "torch.distributed.run", "--nproc-per-node", "4"]
    assert "--bf16" in training


def test_splits_of_question_generation_do_not_meet(tmp_path: Path) -> None:
    folders = {}
    for split in ("du", "zhao"):
        commands = plan("squad_qg", "--output", str(tmp_path), SPLIT=split)
        (data,) = of("s2s_ft.data.prepare", commands)
        (training,) = of("run_seq2seq.py", commands)
        assert isinstance(data, PrepareOptions)
        assert isinstance(training, TrainOptions)
        assert data.name == f"squad_qg_{split}"
        folders[split] = {data.output_dir, training.checkpoint.output_dir}
    assert not folders["du"] & folders["zhao"]


def test_separator_follows_the_tokenizer(tmp_path: Path) -> None:
    commands = plan("squad_qg", "--output", str(tmp_path), BACKBONE="roberta-base")
    (data,) = of("s2s_ft.data.prepare", commands)
    assert isinstance(data, PrepareOptions)
    assert data.answer_separator == "</s>"


def test_zero_shot_trains_on_one_language(tmp_path: Path) -> None:
    arguments = ("--output", str(tmp_path))
    commands = plan("multilingual_debsum", *arguments, TRAIN_LANGUAGES="en", FIX_WORD_EMBEDDING="1")
    (joined,) = of("s2s_ft.data.mixture", commands)
    assert isinstance(joined, MixtureOptions)
    assert list(joined.files) == ["en"]
    (training,) = of("run_seq2seq.py", commands)
    assert isinstance(training, TrainOptions)
    assert training.data.train_file == joined.output_file
    assert training.model.fix_word_embedding
    assert len(of("decode_seq2seq.py", commands)) == 22


def test_temperature_of_languages(tmp_path: Path) -> None:
    mixtures = {}
    for temperature in ("", "5", "inf"):
        arguments = ("--output", str(tmp_path))
        commands = plan("multilingual_debsum", *arguments, TEMPERATURE=temperature)
        (mixture,) = of("s2s_ft.data.mixture", commands)
        assert isinstance(mixture, MixtureOptions)
        assert len(mixture.files) == 11
        assert mixture.files["de"].endswith("/de/train.jsonl")
        mixtures[mixture.output_file] = mixture.temperature
    assert list(mixtures.values()) == [1, 5, float("inf")]


def test_what_is_trained_on_is_prepared_too(tmp_path: Path) -> None:
    commands = plan("xglue_qg", "--output", str(tmp_path), LANGUAGES="de fr")
    (data,) = of("s2s_ft.data.prepare", commands)
    (joined,) = of("s2s_ft.data.mixture", commands)
    assert isinstance(data, PrepareOptions)
    assert isinstance(joined, MixtureOptions)
    assert data.languages == ("de", "fr", "en")
    assert joined.files == {"en": f"{data.output_dir}/en/train.jsonl"}
    assert len(of("decode_seq2seq.py", commands)) == 4


def test_the_row_tells_all_that_was_chosen(tmp_path: Path) -> None:
    chosen = {"LANGUAGES": "en de", "TEMPERATURE": "5", "SEED": "7"}
    commands = plan("multilingual_debsum", "--output", str(tmp_path), **chosen)
    row = next(command for command in commands if "scripts/results_row.py" in command)
    told = dict(pairwise(row))
    typed = shlex.split(told["--command"])
    assert typed[-4:] == ["scripts/multilingual_debsum.sh", "--dry-run", "--output", str(tmp_path)]
    assert {f"{name}={value}" for name, value in chosen.items()} <= set(typed)
    (training,) = of("run_seq2seq.py", commands)
    assert isinstance(training, TrainOptions)
    assert told["--metrics"] == f"{training.checkpoint.output_dir}/metrics.jsonl"
    assert told["--variant"] in training.checkpoint.output_dir


def test_an_embedding_that_is_fixed_0_is_not(tmp_path: Path) -> None:
    folders = []
    for value, fixed in (("", False), ("0", False), ("1", True)):
        commands = plan("xsum", "--output", str(tmp_path), FIX_WORD_EMBEDDING=value)
        (training,) = of("run_seq2seq.py", commands)
        assert isinstance(training, TrainOptions)
        assert training.model.fix_word_embedding is fixed
        folders.append(training.checkpoint.output_dir)
    assert folders[0] == folders[1] != folders[2]


@pytest.mark.parametrize("output", ["here", "outputs/xsum"])
def test_paths_are_meant_from_where_the_user_stands(tmp_path: Path, output: str) -> None:
    commands = plan("xsum", "--output", output, where=tmp_path, RESULTS="my.md")
    row = next(command for command in commands if "scripts/results_row.py" in command)
    told = dict(pairwise(row))
    assert told["--table"] == str(tmp_path / "my.md")
    assert told["--metrics"].startswith(str(tmp_path / output))


@pytest.mark.parametrize("name", ["arguments", "stages"])
def test_bash_can_read_its_parts(name: str) -> None:
    subprocess.run(["bash", "-n", f"{REPOSITORY}/scripts/recipes/{name}.sh"], check=True)


def test_names_agree() -> None:
    assert set(TASKS) == set(TaskName.__args__)  # type: ignore[attr-defined]
    text = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert all(re.search(rf"\b{name}\b", text) for name in (*TASKS, *RECIPES))
