"""Every benchmark starts: on a model of no size where that takes moments, else as far as its help;
and the command lines that documents and docstrings show are ones that the benchmarks take.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import languages, methods
from s2s_ft.cli import parse
from s2s_ft.data.mixture.options import MixtureOptions
from s2s_ft.evaluation.options import EvaluationOptions
from s2s_ft.model.pretrained import load_for_training, save
from s2s_ft.options import DecodeOptions, TrainOptions
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from tests.benchmarks.forked import BENCHMARKS, run
from tests.distributed.ranks import ROOT

NAMES = sorted(
    path.stem for path in BENCHMARKS.glob("*.py") if "\ndef main(" in path.read_text("utf-8")
)
DOCUMENTS = [ROOT / "README.md", ROOT / "RESULTS.md", *sorted(ROOT.glob("docs/*.md"))]
DEV = ROOT / "examples" / "debsum" / "dev.jsonl.gz"
OPTIONS_OF = {
    "run_seq2seq.py": TrainOptions,
    "decode_seq2seq.py": DecodeOptions,
    "s2s_ft.data.mixture": MixtureOptions,
    "s2s_ft.evaluation": EvaluationOptions,
}
SMALL_DECODING = ["--rounds", 1, "--examples", 3, "--batch", 2, "--beams", 2]

Checkpoint = Callable[[str], Path]


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a report, which must be the folder's only one."""
    (file,) = folder.glob("*.json")
    assert file.name == f"{name}.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return rows


@pytest.mark.parametrize("flags", [[], ["--ladder"]], ids=["speed", "ladder"])
def test_training_speed(flags: list[str], tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    """All ways of training have the same loss before they train, but for rounding and dropout."""
    flags = [*flags, "--model", str(tiny_checkpoint("bert")), "--data", str(DEV), "--rounds", "1"]
    run("train_speed", *flags, "--results", tmp_path, folder=tmp_path)
    rows = rows_of(tmp_path, "train_ladder" if "--ladder" in flags else "train_speed")
    for row in rows:
        rel = 1e-5 if not re.search("bf16|dropout 0.1", row["contestant"]) else 0.1
        assert row["loss"] == pytest.approx(rows[0]["loss"], rel=rel), row


def test_training_speed_on_a_gpu(tmp_path: Path) -> None:
    flags = ["--tiny", "--no_compile", "--rounds", 1, "--results", tmp_path]
    run("train_gpu", *flags, folder=tmp_path)
    assert len(rows_of(tmp_path, "train_gpu_tiny")) == 4


@pytest.fixture(scope="module")
def fine_tuned(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as training saves it, with room for the sources of the benchmark."""
    folder = tmp_path_factory.mktemp("fine-tuned")
    codec = TextCodec.load(str(tiny_checkpoint("bert")))
    options = ModelOptions(model_name_or_path=str(tiny_checkpoint("bert")))
    save(
        load_for_training(options, codec, max_source_length=192, max_target_length=33),
        codec,
        folder,
    )
    return folder


@pytest.mark.parametrize("flags", [[], ["--ladder"]], ids=["speed", "ladder"])
def test_decoding_speed(flags: list[str], fine_tuned: Path, tmp_path: Path) -> None:
    """In float32 every technique and the original's way write the same tokens."""
    flags = [*flags, "--model", str(fine_tuned), *map(str, SMALL_DECODING)]
    run("decode_speed", *flags, "--results", tmp_path, folder=tmp_path)
    rows = rows_of(tmp_path, "decode_ladder" if "--ladder" in flags else "decode_speed")
    exact = [row for row in rows if not re.search("bf16|bfloat16|int8|8-bit", row["contestant"])]
    assert {row.get("% same tokens") for row in exact if row["length"] == "natural"} == {100.0}


def test_the_start_of_a_fresh_head(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    flags = ["--model", tiny_checkpoint("bert"), "--steps", 4, "--results", tmp_path]
    run("fresh_head", *flags, folder=tmp_path)
    rows = rows_of(tmp_path, "fresh_head")
    assert [row["start"] for row in rows] == ["random", "identity"]
    assert all(row["after 4"] < row["after 0"] for row in rows)


def test_long_sources(tmp_path: Path) -> None:
    flags = ["--shape", "tiny", "--lengths", 32, 64, "--rounds", 1, "--results", tmp_path]
    run("long_source", *flags, folder=tmp_path)
    rows = rows_of(tmp_path, "long_source")
    assert [(row["task"], row["source tokens"]) for row in rows] == [
        *(("train", 32), ("train", 64)),
        *(("decode", 32), ("decode", 64)),
    ]


def test_methods_puts_together_what_is_there(tmp_path: Path) -> None:
    run_folder, results = tmp_path / "out" / "causal", tmp_path / "results"
    run_folder.mkdir(parents=True)
    look = {"kind": "look", "step": 188, "dev_loss": 4.0, "dev_rouge1": 30.0}
    look |= {"dev_rouge2": 10.0, "dev_rougeL": 25.0}
    lines = [json.dumps(each) for each in ({"kind": "train", "step": 94}, look)]
    (run_folder / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    flags = ["train.jsonl", "dev.jsonl", tmp_path / "out", "--results", results, "--only"]
    run("methods", *flags, folder=tmp_path)
    (row,) = rows_of(results, "methods")
    assert row == {"run": "causal", "step": 188, "loss": 4.0, "R1": 30.0, "R2": 10.0, "RL": 25.0}


def test_languages_puts_together_what_is_there(tmp_path: Path) -> None:
    made, results = tmp_path / "out" / "english", tmp_path / "results"
    made.mkdir(parents=True)
    row = {"src": "A simple tool. It is for files.", "tgt": "a simple tool"}
    (made / "de.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    scores = {name: {"value": 50.0} for name in ("rouge1", "rouge2", "rougeL", "chrf")}
    content = json.dumps({"scores": scores, "num_examples": 1})
    (made / "de.txt.scores.json").write_text(content, encoding="utf-8")
    flags = ["encoder", tmp_path, tmp_path / "out", "--results", results, "--only"]
    run("languages", *flags, folder=tmp_path)
    (found,) = rows_of(results, "languages")
    assert (found["run"], found["language"], found["rougeL"]) == ("english", "de", 50.0)
    assert found["copied rougeL"] == 100.0


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The toolkit's programs that are called in place of running; their flags must be right."""
    programs: list[str] = []

    def note(command: list[str], **_: object) -> None:
        place = 2 if command[1] == "-m" else 1
        program = Path(command[place]).name
        parse(OPTIONS_OF[program], command[place + 1 :], program, "")
        programs.append(program)

    monkeypatch.setattr(subprocess, "run", note)
    return programs


def test_methods_asks_for_runs_that_there_are(called: list[str], tmp_path: Path) -> None:
    flags = ["train.jsonl", "dev.jsonl", str(tmp_path), "--model", "encoder"]
    with pytest.raises(SystemExit, match="no run has looked"):
        methods.main(flags)
    assert called == ["run_seq2seq.py"] * len(methods.RUNS)


def test_languages_asks_for_runs_that_there_are(called: list[str], tmp_path: Path) -> None:
    for language in ("de", "en"):
        folder = tmp_path / "data" / language
        folder.mkdir(parents=True)
        (folder / "test.jsonl").write_text('{"src": "a", "tgt": "b"}\n', encoding="utf-8")
    for name in languages.RUNS:
        (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(SystemExit, match="no scores"):
        languages.main(["encoder", str(tmp_path / "data"), str(tmp_path / "out")])
    each = ["run_seq2seq.py", *["decode_seq2seq.py", "s2s_ft.evaluation"] * 2]
    assert called == [*each, *each, "s2s_ft.data.mixture", *each]


@pytest.fixture(scope="module")
def flags_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], set[str]]:
    """The flags of a benchmark, as its help tells them."""
    known: dict[str, set[str]] = {}

    def flags(name: str) -> set[str]:
        if name not in known:
            said = run(name, "--help", folder=tmp_path_factory.mktemp(name))
            known[name] = set(re.findall(r"--\w+", said.partition("\noptions:\n")[2]))
        return known[name]

    return flags


@pytest.mark.parametrize("name", NAMES)
def test_help_has_the_flags_of_the_docstring(
    name: str, flags_of: Callable[[str], set[str]]
) -> None:
    text = (BENCHMARKS / f"{name}.py").read_text(encoding="utf-8")
    usage = re.findall(rf"^    python benchmarks/{name}\.py.*\n(?:     +\S.*\n)*", text, re.M)
    assert usage, f"benchmarks/{name}.py does not say how it is called"
    assert set(re.findall(r"--\w+", "".join(usage))) <= flags_of(name) - {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_benchmarks_that_there_are(
    document: Path, flags_of: Callable[[str], set[str]]
) -> None:
    for name, flags in re.findall(
        r"\bbenchmarks/(\w+)\.py([^`\n]*)", document.read_text(encoding="utf-8")
    ):
        assert (BENCHMARKS / f"{name}.py").exists(), name
        asked = set(re.findall(r"--\w+", flags))
        assert not asked or asked <= flags_of(name), (name, asked)
