"""`python -m s2s_ft.evaluation` as a user runs it: exit codes, messages, the file it leaves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def evaluate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "s2s_ft.evaluation", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    rows = [
        {"src": "A tool. It reads files.", "tgt": "tool that reads files"},
        {"src": "北京的天气。很好。", "tgt": "北京天气"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_scores_are_printed_and_written(tmp_path: Path, gold: Path) -> None:
    pred, output = tmp_path / "pred.txt", tmp_path / "new" / "scores.json"
    pred.write_text("tool to read files\n北京气候\n", encoding="utf-8")
    arguments = ["--pred", str(pred), "--gold", str(gold), "--output_file", str(output)]
    done = evaluate(*arguments, "--baselines", "--dev_file", str(gold), "--examples", "1")
    assert done.returncode == 0, done.stderr
    assert "ROUGE-Lsum" in done.stdout
    assert "first sentence" in done.stdout
    assert str(output) in done.stderr
    scores = json.loads(output.read_text(encoding="utf-8"))["scores"]
    # Three of four words agree in the one row, and three of four characters in the other.
    assert scores["rouge1"]["value"] == pytest.approx(75)
    assert [path.name for path in output.parent.iterdir()] == ["scores.json"]


@pytest.mark.parametrize(
    ("pred", "message"),
    [
        ("one\n", "has 1 rows, but --gold"),
        ("", "the file is empty"),
        ('{"text": 3}\n{"text": ""}\n', "line 1: 'text' is a number"),
        (None, "there is no such file"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    tmp_path: Path, gold: Path, pred: str | None, message: str
) -> None:
    path = tmp_path / "pred"
    if pred is not None:
        path.write_text(pred, encoding="utf-8")
    done = evaluate("--pred", str(path), "--gold", str(gold))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --pred {path}")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not path.with_name("pred.scores.json").exists()


def test_an_unwritable_place_for_the_scores_is_code_1(tmp_path: Path, gold: Path) -> None:
    pred = tmp_path / "pred"
    pred.write_text("a\nb\n")
    output = str(pred / "scores.json")  # below a file, where even root cannot write
    done = evaluate("--pred", str(pred), "--gold", str(gold), "--output_file", output)
    assert done.returncode == 1
    assert f"--output_file {output} cannot be written" in done.stderr


def test_help_loads_no_scoring_library() -> None:
    program = (
        "import sys\n"
        "from s2s_ft.evaluation.run import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'transformers', 'nltk', 'rouge_score', 'sacrebleu'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    assert "--bleu_tokenizer" in done.stdout
