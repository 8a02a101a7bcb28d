"""A whole evaluation in process: the report, the table, the JSON file, and no network."""

import json
import os
import socket
from pathlib import Path

import pytest

from s2s_ft.evaluation.options import ScoringOptions
from s2s_ft.evaluation.run import evaluate, main
from s2s_ft.evaluation.table import example_rows, score_table

KEYS = ["rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "chrf"]


@pytest.fixture
def files(tmp_path: Path, debsum: tuple[list[str], list[str]]) -> tuple[str, str]:
    """Predictions (the references, shortened) and the data file they belong to."""
    sources, references = debsum[0][:40], debsum[1][:40]
    pred, gold = tmp_path / "pred", tmp_path / "gold.jsonl"
    pred.write_text("".join(" ".join(text.split()[:-1]) + "\n" for text in references))
    rows = zip(sources, references, strict=True)
    gold.write_text("".join(json.dumps({"src": s, "tgt": t}) + "\n" for s, t in rows))
    return str(pred), str(gold)


def test_perfect_and_useless_predictions() -> None:
    texts = ["a library for reading files", "чтение и запись больших архивов"]
    perfect = evaluate(texts, texts, ScoringOptions(num_bootstrap=10))
    assert [score.key for score in perfect.scores] == KEYS
    assert [round(score.estimate.value, 6) for score in perfect.scores] == [100] * 6
    useless = evaluate(["", " "], texts, ScoringOptions(num_bootstrap=10))
    assert [score.estimate.value for score in useless.scores] == [0] * 6
    assert useless.num_empty_predictions == 2
    assert (useless.mean_prediction_words, useless.mean_reference_words) == (0, 5)


def test_intervals_hold_the_score_and_follow_the_seed(
    debsum: tuple[list[str], list[str]],
) -> None:
    sources, references = debsum
    report = evaluate(sources, references)
    assert report == evaluate(sources, references)
    assert report != evaluate(sources, references, ScoringOptions(seed=1))
    for score in report.scores:
        assert score.estimate.low < score.estimate.value < score.estimate.high
    assert report.value("rouge1") == report.scores[0].estimate.value


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(ValueError, match="no examples"):
        evaluate([], [])


def test_the_command_needs_no_network(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    pred, gold = files
    command = ["--pred", pred, "--gold", gold, "--baselines", "--dev_file", gold]
    assert main([*command, "--examples", "3", "--num_bootstrap", "20"]) == 0
    shown = capsys.readouterr().out
    assert "first sentence" in shown
    assert shown.count("  reference  ") == 3
    written = json.loads(Path(f"{pred}.scores.json").read_text(encoding="utf-8"))
    assert list(written["scores"]) == KEYS
    assert written["num_examples"] == 40
    sentence, lead = written["baselines"]
    assert sentence == "first sentence"
    assert lead.startswith("first ")
    rouge = written["scores"]["rouge1"]
    assert rouge["low"] <= rouge["value"] <= rouge["high"]
    assert rouge["recall"]["value"] < rouge["precision"]["value"] == 100
    assert written["scores"]["bleu"]["signature"].startswith("nrefs:1|bs:20|seed:42|case:mixed")
    assert f"{rouge['value']:.2f} [" in shown


def test_sources_may_stand_in_a_file_of_their_own(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pred, gold = files
    plain = tmp_path / "gold.txt"
    rows = [json.loads(line) for line in Path(gold).read_text().splitlines()]
    plain.write_text("".join(row["tgt"] + "\n" for row in rows))
    short = ["--pred", pred, "--gold", str(plain), "--num_bootstrap", "2"]
    with pytest.raises(ValueError, match="give --source_file"):
        main([*short, "--baselines"])
    assert main([*short, "--baselines", "--source_file", gold]) == 0
    assert main([*short, "--examples", "1"]) == 0
    assert "  source  " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source_file", "{pred}.3", "--baselines"], r"--source_file .* has 3 rows, but --gold"),
        (["--dev_file", "{gold}"], "--dev_file serves the baselines"),
        (["--source_file", "{gold}"], "--source_file serves --baselines, --examples and"),
        (["--source_key", "src2"], "--source_key serves --baselines, --examples and"),
        (["--examples", "2", "--source_key", "nope"], r"--source_key needs sources.*no key `nope`"),
        (["--group_key", "src"], "--group_key has no effect without --protocol qg"),
        (["--every_prediction"], "--every_prediction has no effect without --protocol qg"),
        (["--meteor_jar", "m.jar"], "--meteor_jar has no effect without --protocol qg"),
        *(
            (
                ["--protocol", protocol, *flags],
                f"{flags[0]} has no effect with --protocol {protocol}",
            )
            for protocol, flags in (
                ("qg", ["--no_stemmer"]),
                ("qg", ["--tokenizer", "default"]),
                ("qg", ["--bleu_tokenizer", "zh"]),
                ("xglue_qg", ["--tokenizer", "default"]),
            )
        ),
        (["--protocol", "qg", "--rejoin_tokens", "on"], "leave out --rejoin_tokens$"),
        (["--num_bootstrap", "0"], "--num_bootstrap is 0"),
        (["--target_key", "nope"], r"--gold .*line 1: no key `nope`; it has src, tgt"),
        (["--baselines", "--dev_file", "{pred}.4"], r"--dev_file .*there is no such file"),
        (["--output_file", "{pred}"], "--output_file .*: is what --pred reads"),
        (["--output_file", "{gold}"], "--output_file .*: is what --gold reads"),
        (["--compare", "{pred}.3", "--output_file", "{pred}.3"], "is what --compare reads"),
        (
            ["--baselines", "--source_file", "{pred}.3", "--output_file", "{pred}.3"],
            "is what --source_file reads",
        ),
    ],
)
def test_faults_are_named(files: tuple[str, str], arguments: list[str], message: str) -> None:
    pred, gold = files
    Path(f"{pred}.3").write_text("a\nb\nc\n")
    before = Path(pred).read_text(), Path(gold).read_text(), Path(f"{pred}.3").read_text()
    filled = [argument.format(pred=pred, gold=gold) for argument in arguments]
    with pytest.raises(ValueError, match=message):
        main(["--pred", pred, "--gold", gold, *filled])
    assert before == (Path(pred).read_text(), Path(gold).read_text(), Path(f"{pred}.3").read_text())


@pytest.mark.parametrize(
    ("flag", "arguments"),
    [
        ("--gold", ["--examples", "1"]),
        ("--gold", ["--protocol", "qg"]),
        ("--source_file", ["--protocol", "qg", "--examples", "1"]),
        ("--dev_file", ["--baselines"]),
    ],
)
def test_a_pipe_is_refused_where_it_would_be_read_again(
    files: tuple[str, str], tmp_path: Path, flag: str, arguments: list[str]
) -> None:
    pred, gold = files
    os.mkfifo(tmp_path / "pipe")
    named = {"--pred": pred, "--gold": gold, flag: str(tmp_path / "pipe")}
    with pytest.raises(ValueError, match=f"{flag} .*pipe: is a pipe or a device"):
        main([*arguments, *(word for pair in named.items() for word in pair)])


@pytest.mark.parametrize(
    ("generated", "share", "is_told"),
    [("zuge fallen aus", 1, True), ("züge fallen aus", 1, False), ("zuge fallen aus", 50, False)],
)
def test_lost_accents_are_told_of(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    generated: str,
    share: int,
    is_told: bool,
) -> None:
    pred, gold = tmp_path / "pred.txt", tmp_path / "gold.txt"
    pred.write_text(f"{generated}\n" * 50, encoding="utf-8")
    rows = ["ein zug fällt aus" if row % share == 0 else "ein zug" for row in range(50)]
    gold.write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert main(["--pred", str(pred), "--gold", str(gold), "--num_bootstrap", "2"]) == 0
    assert ("references have accents" in caplog.text) == is_told


def test_a_model_without_capitals_is_pointed_to_lowercase(
    files: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    pred, gold = files
    Path(pred).write_text(Path(pred).read_text().lower())
    command = ["--pred", pred, "--gold", gold, "--num_bootstrap", "2"]
    main([*command, "--lowercase"])
    assert "--lowercase" not in caplog.text
    main(command)
    assert "--lowercase" in caplog.text


def test_the_table_is_aligned() -> None:
    texts = ["a b c d"]
    report = evaluate(texts, texts, ScoringOptions(num_bootstrap=2))
    lines = score_table({"generated": report, "first sentence": report}).split("\n")
    assert [line.split()[0] for line in lines[1:-1]] == [
        "ROUGE-1",
        "ROUGE-2",
        "ROUGE-L",
        "ROUGE-Lsum",
        "BLEU",
        "chrF2",
    ]
    assert len({line.index("[") for line in lines[1:-1]}) == 1
    assert len({line.rindex("[") for line in lines[1:-1]}) == 1


def test_examples_lie_evenly_and_are_all_shown_when_few() -> None:
    texts = [f"text {number}" for number in range(10)]
    shown = example_rows(["word " * 500] * 10, texts, texts, count=2)
    assert "example 3 of 10" in shown
    assert "example 8 of 10" in shown
    assert len(shown.split("\n")) == 2 * 7 + 1
    assert example_rows(None, texts, texts, count=99).count("example") == 10
