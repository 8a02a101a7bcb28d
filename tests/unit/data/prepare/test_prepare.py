"""Benchmarks in their official formats become JSON lines, or one line says what is wrong.

The files are those of `scripts/miniature`, copied where a test changes one.
"""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from s2s_ft.cli import EnvironmentFault, parse, run
from s2s_ft.data.examples import read_examples
from s2s_ft.data.prepare.__main__ import main
from s2s_ft.data.prepare.news import XSUM_SPLIT_FILE
from s2s_ft.data.prepare.options import PrepareOptions, with_name_flag
from s2s_ft.data.prepare.run import prepare
from s2s_ft.data.prepare.tasks import SAMPLE_COUNTS, TASKS, Task
from s2s_ft.storage.checksum import sha256_of

REPOSITORY = Path(__file__).parents[4]
MINIATURE = REPOSITORY / "scripts" / "miniature"
FOLDERS = {
    "cnndm": "cnndm",
    "xsum": "xsum",
    "gigaword": "gigaword",
    "squad_qg_du": "squad_qg",
    "squad_qg_zhao": "squad_qg",
    "xglue_ntg": "xglue",
    "xglue_qg": "xglue",
    "debsum": "debsum",
}
Rows = list[dict[str, str]]


def options(name: str, folder: Path, *arguments: str, files: Path | None = None) -> PrepareOptions:
    languages = ["--languages", "en", "de"] if len(TASKS[name].languages) > 1 else []
    source = ["--from_files", str(files or MINIATURE / FOLDERS[name])]
    given = [name, "--output_dir", str(folder), "--allow_other_counts", *source, *languages]
    return parse(PrepareOptions, with_name_flag([*given, *arguments]), "prepare", "")


def rows(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def prepared(name: str, folder: Path, *arguments: str, files: Path | None = None) -> Path:
    assert prepare(options(name, folder, *arguments, files=files)) == 0
    return folder


@pytest.mark.parametrize("name", FOLDERS)
def test_every_split_can_be_read_and_is_accounted_for(name: str, tmp_path: Path) -> None:
    folder = prepared(name, tmp_path / "data")
    found = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert not found["counts_as_published"]
    assert found["source"]["files"]
    for file, told in found["files"].items():
        examples = list(read_examples(folder / file))
        assert len(examples) == told["rows"] > 0
        assert sha256_of(folder / file) == told["sha256"]
        assert told["sha256"] in (folder / "README.md").read_text(encoding="utf-8")
        ids = [row["id"] for row in rows(folder / file)]
        assert len(set(ids)) == len(ids)
    written = {str(path.relative_to(folder)) for path in folder.rglob("*.jsonl")}
    assert written == found["files"].keys()
    for file, digest in found["source"]["files"].items():
        path = MINIATURE / FOLDERS[name] / file
        assert not path.is_file() or sha256_of(path) == digest


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (prepared("cnndm", tmp_path / name) for name in ("one", "two"))
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_stories_without_an_article_are_left_out_as_published(tmp_path: Path) -> None:
    folder = prepared("cnndm", tmp_path / "data", "--sentence_separator", "<q>")
    addresses = (MINIATURE / "cnndm" / "url_lists" / "all_train.txt").read_text().split()
    names = [hashlib.sha1(address.encode()).hexdigest() for address in addresses]
    found = rows(folder / "train.jsonl")
    assert [row["id"] for row in found] == names[:-1]
    assert all(row["tgt"].count(" <q> ") == 1 for row in found)
    assert all("Nobody was hurt ." in row["src"] for row in found)
    assert not any("@highlight" in row["src"] + row["tgt"] for row in found)


@pytest.mark.parametrize(
    "target",
    ["<t> one is here . </t> <t> two is there . </t>", "one is here . two is there ."],
    ids=["tagged", "tokenised"],
)
def test_summaries_on_a_line_are_split_into_sentences(target: str, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.source").write_text("an article .\n")
        (tmp_path / f"{split}.target").write_text(f"{target}\n")
    folder = prepared("cnndm", tmp_path / "data", files=tmp_path)
    assert rows(folder / "dev.jsonl") == [
        {"src": "an article .", "tgt": "one is here . [X_SEP] two is there .", "id": "dev-1"}
    ]


def test_running_text_is_split_where_a_capital_follows(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.source").write_text("An article.\n")
        (tmp_path / f"{split}.target").write_text(
            'It cost 3.5 pounds. She left! "Why?" he asked.\n'
        )
    folder = prepared("cnndm", tmp_path / "data", files=tmp_path)
    assert rows(folder / "test.jsonl")[0]["tgt"].split(" [X_SEP] ") == [
        "It cost 3.5 pounds.",
        "She left!",
        '"Why?" he asked.',
    ]


def test_questions_have_passage_and_answer(tmp_path: Path) -> None:
    folder = prepared("squad_qg_du", tmp_path / "data", "--answer_separator", "</s>")
    for row in rows(folder / "train.jsonl"):
        passage, answer = row["src"].split(" </s> ")
        assert answer in passage
        assert row["tgt"].endswith("?")


def test_zhao_is_du_with_dev_and_test_swapped(tmp_path: Path) -> None:
    du = prepared("squad_qg_du", tmp_path / "du")
    zhao = prepared("squad_qg_zhao", tmp_path / "zhao")
    for ours, theirs in (("train", "train"), ("dev", "test"), ("test", "dev")):
        assert rows(zhao / f"{ours}.jsonl") == rows(du / f"{theirs}.jsonl")
    articles = json.loads((MINIATURE / "squad_qg" / "dev-v1.1.json").read_text())["data"]
    assert len(rows(du / "dev.jsonl")) == sum(len(x["qas"]) for x in articles[0]["paragraphs"])


def test_released_lines_of_questions(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.pa.tok.txt").write_text(f"a {split} passage [SEP] passage\n")
        (tmp_path / f"{split}.q.tok.txt").write_text("what ?\n")
    folder = prepared("squad_qg_zhao", tmp_path / "data", files=tmp_path)
    assert rows(folder / "dev.jsonl")[0]["src"] == "a test passage [SEP] passage"


def test_unreleased_references_are_no_fault(tmp_path: Path) -> None:
    files = tmp_path / "files"
    shutil.copytree(MINIATURE / "xglue" / "NTG", files)
    for path in files.glob("*.tgt.test"):
        path.unlink()
    folder = prepared("xglue_ntg", tmp_path / "data", files=files)
    assert not any("tgt" in row for row in rows(folder / "de" / "test.jsonl"))
    assert not (folder / "de" / "train.jsonl").exists()
    told = json.loads((folder / "dataset.json").read_text())["files"]["de/test.jsonl"]
    assert told["without_target"] == told["rows"]


def test_gzipped_files_are_read(tmp_path: Path) -> None:
    for path in (MINIATURE / "gigaword").iterdir():
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    packed = prepared("gigaword", tmp_path / "packed", files=tmp_path)
    plain = prepared("gigaword", tmp_path / "plain")
    assert rows(packed / "train.jsonl") == rows(plain / "train.jsonl")


def test_rows_that_training_cannot_use_are_left_out_and_counted(tmp_path: Path) -> None:
    files = tmp_path / "files"
    shutil.copytree(MINIATURE / "gigaword", files)
    lines = (files / "train.title.txt").read_text().splitlines()
    (files / "train.title.txt").write_text("\n".join(["", *lines[1:]]) + "\n")
    folder = prepared("gigaword", tmp_path / "data", files=files)
    told = json.loads((folder / "dataset.json").read_text())["files"]["train.jsonl"]
    assert (told["read"], told["rows"]) == (len(lines), len(lines) - 1)


def test_the_sample_of_debsum_counts_as_published(tmp_path: Path) -> None:
    command = ["debsum", "--from_files", str(REPOSITORY / "examples" / "debsum")]
    assert main([*command, "--output_dir", str(tmp_path / "data"), "--languages", "en"]) == 0
    told = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert told["counts_as_published"]
    assert told["files"]["en/train.jsonl"]["rows"] == SAMPLE_COUNTS["train"]


def test_a_byte_order_mark_and_blank_lines_at_the_end_do_not_matter(tmp_path: Path) -> None:
    row = {"id": "x", "src": "a text", "tgt": "a"}
    for split in ("train", "dev", "test"):
        content = f"\ufeff{json.dumps(row)}\n\n"
        (tmp_path / f"{split}.jsonl").write_text(content, encoding="utf-8")
    command = ["debsum", "--from_files", str(tmp_path), "--languages", "en"]
    assert main([*command, "--output_dir", str(tmp_path / "data"), "--allow_other_counts"]) == 0
    assert rows(tmp_path / "data" / "en" / "test.jsonl") == [row]


def test_other_counts_are_an_error_that_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["xsum", "--from_files", str(MINIATURE / "xsum"), "--output_dir"]
    assert run(lambda: main([*arguments, str(tmp_path / "data")])) == 2
    message = capsys.readouterr().err
    assert "train.jsonl has 12 rows where 204,045 were published" in message
    assert message.count("\n") == 1
    assert not list(tmp_path.iterdir())


def damage_line(path: Path) -> None:
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b"\xff\xfe", *lines[2:]]))


def drop_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def spoil(path: Path) -> None:
    path.write_text('{"data": [\n,]}')


def name_more(path: Path) -> None:
    path.write_text(path.read_text() + "Missing_article\n")


FAULTS = [
    ("gigaword", "train.title.txt", drop_line, "train.article.txt, line 16: "),
    ("gigaword", "train.article.txt", drop_line, "train.title.txt, line 16: "),
    ("gigaword", "input.txt", damage_line, "input.txt, line 2: not UTF-8"),
    ("gigaword", "input.txt", Path.unlink, "has none of input.txt"),
    ("xsum", XSUM_SPLIT_FILE, Path.unlink, f"train.source, train.document, {XSUM_SPLIT_FILE};"),
    ("squad_qg_du", "dev-v1.1.json", spoil, "dev-v1.1.json, line 2: not JSON"),
    ("squad_qg_du", "doclist-test.txt", name_more, "doclist-test.txt, line 2: "),
    ("xglue_qg", "QG/xglue.qg.de.tgt.dev", drop_line, "xglue.qg.de.src.dev, line 4: "),
    ("debsum", "de/dev.jsonl", spoil, "dev.jsonl, line 1: "),
    ("cnndm", "url_lists/all_val.txt", name_more, "all_val.txt, line 5: no file"),
]


@pytest.mark.parametrize(
    ("name", "file", "harm", "message"), FAULTS, ids=[f"{x[1]}-{x[2].__name__}" for x in FAULTS]
)
def test_faults_name_file_and_line(
    name: str, file: str, harm: Any, message: str, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    shutil.copytree(MINIATURE / FOLDERS[name], files)
    harm(files / file)
    with pytest.raises(ValueError, match=r"docs/benchmarks.md|get |convert|unpack|hold") as caught:
        prepare(options(name, tmp_path / "data", files=files))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"files"}


def test_a_summary_without_its_parts_is_named(tmp_path: Path) -> None:
    files = tmp_path / "files"
    shutil.copytree(MINIATURE / "xsum", files)
    broken = sorted((files / "bbc-summary-data").iterdir())[0]
    broken.write_text("[SN]URL[SN]\nhttp://\n")
    with pytest.raises(ValueError, match=rf"{broken.name}, line 1: has no part \[SN\]TITLE"):
        prepare(options("xsum", tmp_path / "data", files=files))


def test_a_full_disk_is_met_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(EnvironmentFault, match=r"needs about .* MB and 0 MB are free"):
        prepare(options("xsum", tmp_path / "data"))


@pytest.mark.parametrize(
    ("name", "languages", "message"),
    [
        ("xsum", ["en"], "has one language only"),
        ("xglue_qg", ["ru"], "--languages ru: xglue_qg has"),
    ],
)
def test_wrong_languages(name: Any, languages: list[str], message: str, tmp_path: Path) -> None:
    given = PrepareOptions(name=name, output_dir=str(tmp_path / "x"), languages=tuple(languages))
    with pytest.raises(ValueError, match=message):
        prepare(given)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_every_benchmark_is_described(task: Task) -> None:
    assert task.title
    assert task.home
    assert task.terms
    assert any("train" in task.splits(language) for language in task.languages)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from s2s_ft.data.prepare.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "sys.exit(bool({'torch', 'datasets', 'numpy', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"--allow_other_counts" in done.stdout
