"""Averages over languages: the mean of scores that sacrebleu gives each of them."""

import json
from pathlib import Path

import pytest
import sacrebleu

from s2s_ft.evaluation.languages import names
from s2s_ft.evaluation.run import main


@pytest.fixture
def command(tmp_path: Path, debsum: tuple[list[str], list[str]]) -> list[str]:
    """Two languages of different size; the texts serve as predictions in capitals."""
    for language, rows in (("en", slice(0, 40)), ("de", slice(40, 60))):
        for name, texts in (("pred", debsum[0]), ("gold", debsum[1])):
            lines = [text[:80].upper() if name == "pred" else text for text in texts[rows]]
            (tmp_path / f"{name}.{language}").write_text("\n".join(lines) + "\n")
    pattern = str(tmp_path / "{}.{{lang}}")
    return [
        *("--pred", pattern.format("pred"), "--gold", pattern.format("gold")),
        *("--protocol", "xglue_ntg", "--num_bootstrap", "20"),
    ]


def test_the_average_is_that_of_the_languages(command: list[str], tmp_path: Path) -> None:
    main([*command, "--languages", "en,de", "--compare", str(tmp_path / "gold.{lang}")])
    written = json.loads((tmp_path / "pred.all.scores.json").read_text())
    expected = []
    for language in ("en", "de"):
        pred, gold = (
            (tmp_path / f"{name}.{language}").read_text().splitlines() for name in ("pred", "gold")
        )
        expected.append(sacrebleu.corpus_bleu(pred, [gold], lowercase=True).score)
        found = written["languages"][language]["scores"]["bleu"]["value"]
        assert found == pytest.approx(expected[-1])
    bleu = written["scores"]["bleu"]
    assert bleu["value"] == pytest.approx(sum(expected) / 2)
    assert bleu["low"] <= bleu["value"] <= bleu["high"]
    assert written["num_examples"] == 60
    (compared,) = written["compared"].values()
    assert compared["bleu"]["other"] == pytest.approx(100)
    assert compared["bleu"]["high"] < 0


def test_the_average_tells_of_all_tokenizers(tmp_path: Path) -> None:
    for language, text in (("en", "the old server"), ("fr", "le vieux"), ("zh", "今天天气很好")):
        (tmp_path / f"texts.{language}").write_text(f"{text}\n", encoding="utf-8")
    pattern, output = str(tmp_path / "texts.{lang}"), tmp_path / "scores.json"
    files = ["--pred", pattern, "--gold", pattern, "--output_file", str(output)]
    main([*files, "--languages", "en,fr,zh", "--num_bootstrap", "2"])
    written = json.loads(output.read_text())
    bleu = [written["languages"][each]["scores"]["bleu"]["signature"] for each in ("en", "zh")]
    assert "|tok:13a|" in bleu[0]
    assert bleu[1] == bleu[0].replace("tok:13a", "tok:zh")
    assert written["scores"]["bleu"]["signature"] == bleu[0].replace("tok:13a", "tok:13a,zh")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--languages", "en,en"], "--languages en,en: name every language once"),
        (["--languages", "en,fr"], "there is no such file"),
        (["--languages", "en", "--gold", "gold"], r"--gold gold: write \{lang\}"),
        (["--languages", "en,de", "--output_file", "{gold}"], "is what --gold reads"),
        (["--languages", "en", "--examples", "1"], "one language at a time"),
        (["--languages", "en", "--protocol", "qg"], "xglue_qg is for several"),
    ],
)
def test_faults_are_named(command: list[str], arguments: list[str], message: str) -> None:
    gold = command[command.index("--gold") + 1].replace("{lang}", "de")
    with pytest.raises(ValueError, match=message):
        main([*command, *(each.format(gold=gold) for each in arguments)])


def test_names_are_cut_at_commas() -> None:
    assert names("en, de,fr") == ["en", "de", "fr"]
