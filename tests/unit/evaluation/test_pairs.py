"""Files whose rows are taken together: what shows that they are of other rows is refused."""

import json
from pathlib import Path

import pytest

from s2s_ft.evaluation.run import main

TEXTS = ["a small library", "games for linux", "files of text"]


def write(path: Path, key: str, ids: str) -> str:
    """A file of three rows, each with a letter of `ids` for its `id`; a dot gives it none."""
    rows = [
        {key: text, "src": "one" if label == "." else f"source {label}"}
        | ({} if label == "." else {"id": label})
        for text, label in zip(TEXTS, ids, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("ids", "arguments", "one", "other"),
    [
        (("abc", "abd", "...", "..."), [], "pred", "gold"),
        (("abc", "abd", "...", "..."), ["--protocol", "qg"], "pred", "gold"),
        (("...", "abc", "abd", "..."), ["--compare", "{compare}"], "compare", "gold"),
        (("abc", "...", "abd", "..."), ["--compare", "{compare}"], "compare", "pred"),
        (
            ("...", "abc", "...", "abd"),
            ["--examples", "1", "--source_file", "{source_file}"],
            "source_file",
            "gold",
        ),
        (
            ("...", "abc", "...", "abd"),
            ["--protocol", "qg", "--source_file", "{source_file}"],
            "source_file",
            "gold",
        ),
    ],
)
def test_rows_with_another_id_are_refused(
    tmp_path: Path, ids: tuple[str, ...], arguments: list[str], one: str, other: str
) -> None:
    names = ("pred", "gold", "compare", "source_file")
    keys = ("text", "tgt", "text", "src")
    files = {
        name: write(tmp_path / f"{name}.jsonl", key, labels)
        for name, key, labels in zip(names, keys, ids, strict=True)
    }
    command = ["--pred", files["pred"], "--gold", files["gold"]]
    with pytest.raises(ValueError, match=f"^--{one} .*, line 3: its id is ") as fault:
        main([*command, *(argument.format(**files) for argument in arguments)])
    assert f"but line 3 of --{other} {files[other]} has " in str(fault.value)
    assert not (tmp_path / "pred.jsonl.scores.json").exists()


@pytest.mark.parametrize(("pred", "gold"), [("abc", "abc"), ("a.c", ".b."), ("...", "abc")])
def test_rows_of_the_same_id_or_without_one_are_scored(
    tmp_path: Path, pred: str, gold: str
) -> None:
    files = write(tmp_path / "p.jsonl", "text", pred), write(tmp_path / "g.jsonl", "tgt", gold)
    assert main(["--pred", files[0], "--gold", files[1], "--num_bootstrap", "2"]) == 0
