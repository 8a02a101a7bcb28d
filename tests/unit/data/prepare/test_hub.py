"""The same rows from the hub, which is stood in for: nothing is fetched."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.cli import EnvironmentFault, parse
from s2s_ft.data.prepare.options import PrepareOptions
from s2s_ft.data.prepare.run import prepare


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class FakeHub:
    """Answers like `datasets.load_dataset`, and notes what it was asked for."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.columns = columns
        self.asked: list[tuple[str, str | None, str, str | None]] = []

    def __call__(
        self, path: str, config: str | None, *, split: str, revision: str | None, cache_dir: object
    ) -> Iterable[Mapping[str, Any]]:
        self.asked.append((path, config, split, revision))
        return [{name: f"{text} ({split})" for name, text in self.columns.items()}] * 2


def from_hub(name: str, folder: Path, hub: FakeHub, *arguments: str) -> Path:
    given = ["--name", name, "--output_dir", str(folder), "--allow_other_counts", *arguments]
    assert prepare(parse(PrepareOptions, given, "prepare", ""), load=hub) == 0
    return folder


def test_highlights_of_the_hub_are_sentences(tmp_path: Path) -> None:
    hub = FakeHub({"article": "A text .", "highlights": "One .\nTwo .", "id": "x"})
    folder = from_hub("cnndm", tmp_path / "data", hub)
    assert rows(folder / "dev.jsonl")[0]["tgt"] == "One . [X_SEP] Two . (validation)"
    assert hub.asked[1] == ("abisee/cnn_dailymail", "3.0.0", "validation", None)
    source = json.loads((folder / "dataset.json").read_text())["source"]
    assert source == {"hub": "abisee/cnn_dailymail", "config": "3.0.0", "revision": "main"}


@pytest.mark.parametrize("lacking", ["paragraph", "answer", "question"])
def test_what_a_row_of_the_hub_lacks_is_no_text(tmp_path: Path, lacking: str) -> None:
    row = {"paragraph": "A passage.", "answer": "passage", "question": "What?"}

    def load(*_: object, **__: object) -> list[dict[str, str | None]]:
        return [row, {**row, lacking: None}]

    given = [
        "--name",
        "squad_qg_du",
        "--output_dir",
        str(tmp_path / "data"),
        "--allow_other_counts",
    ]
    assert prepare(parse(PrepareOptions, given, "prepare", ""), load=load) == 0
    assert len(rows(tmp_path / "data" / "train.jsonl")) == 1
    whole, other = rows(tmp_path / "data" / "test.jsonl")
    assert whole["src"] == "A passage. [SEP] passage"
    if lacking == "question":
        assert "tgt" not in other
    else:
        assert other["src"] == ""


def test_languages_of_the_hub_are_splits(tmp_path: Path) -> None:
    hub = FakeHub({"news_body": "Body.", "news_title": "Title"})
    from_hub("xglue_ntg", tmp_path / "data", hub, "--languages", "de", "en")
    splits = [split for _, _, split, _ in hub.asked]
    assert splits == ["train", "validation.en", "test.en", "validation.de", "test.de"]


def test_zhao_swaps_on_the_hub_too(tmp_path: Path) -> None:
    hub = FakeHub({"paragraph": "A passage.", "answer": "passage", "question": "What?"})
    folder = from_hub("squad_qg_zhao", tmp_path / "data", hub, "--hub_revision", "abc")
    assert [(split, revision) for _, _, split, revision in hub.asked] == [
        ("train", "abc"),
        ("test", "abc"),
        ("validation", "abc"),
    ]
    assert " [SEP] " in rows(folder / "dev.jsonl")[0]["src"]


def test_other_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row 1: no column 'document'.*--hub_revision"):
        from_hub("xsum", tmp_path / "data", FakeHub({"text": "A text."}))


def test_a_silent_hub_is_the_environments_fault(tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> Iterable[Mapping[str, Any]]:
        raise ConnectionError("no route to host\nmore")

    given = parse(PrepareOptions, ["--name", "xsum", "--output_dir", str(tmp_path / "x")], "p", "")
    with pytest.raises(EnvironmentFault, match="no route to host; give the official files"):
        prepare(given, load=fail)
    assert not list(tmp_path.iterdir())


def test_what_is_on_no_hub_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--name debsum: is not on the hub: give --from_files"):
        prepare(PrepareOptions(name="debsum", output_dir=str(tmp_path / "data")))
