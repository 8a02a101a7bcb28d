"""The sweep: it finds the setting that a trace was made for, and says which flags apply it."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from s2s_ft.decode import rescore
from s2s_ft.decode.lines.traces import TraceHeader, header_line, trace_line
from s2s_ft.decode.search.hypotheses import Trace
from s2s_ft.evaluation import sweep
from s2s_ft.evaluation.sweep import Row, best_row, main
from s2s_ft.evaluation.sweep_options import GridOptions, Setting, settings_of

END, PAD = 3, 0
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "blue", "old", "never", "."]
TEXTS = {"short": "red", "middle": "red green", "long": "red green blue old"}

# Ends: [5 #] -1.0, [5 6 #] -1.3, and at the last step [5 6 7 8] -2.4, not ended. The search's
# penalty puts [5 6 #] first from alpha 1.97 on, [5 6 7 8] from 5.21 on.
TRACE = Trace(
    scores=[[-0.5, -9.0], [-0.9, -1.0], [-1.3, -1.8], [-2.4, -10001.9]],
    ids=[[5, 9], [6, END], [END, 7], [8, 6]],
    parents=[[0, 0], [0, 0], [0, 0], [1, 0]],
)


@pytest.fixture
def output(tmp_path: Path) -> str:
    """The name of a decoding run's output that has a trace of three examples."""
    return written(tmp_path)


def written(folder: Path, trace: Trace = TRACE, penalty: float = 0.0, reward: float = 0.0) -> str:
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(exist_ok=True)
    (tokenizer / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    header = TraceHeader(
        num_examples=3,
        eos_id=END,
        pad_id=PAD,
        beam_size=2,
        length_penalty=penalty,
        tokenizer=str(tokenizer),
        do_lower_case=None,
        length_reward=reward,
    )
    lines = [header_line(header), *(trace_line(index, trace) for index in range(3))]
    (folder / "out.trace.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder / "out")


def swept(output: str, wanted: str, *arguments: str) -> dict[str, object]:
    gold = Path(f"{output}.gold")
    gold.write_text(f"{TEXTS[wanted]}\n" * 3)
    command = ["--input", output, "--gold", str(gold), "--num_bootstrap", "5", *arguments]
    assert main(command) == 0
    content: dict[str, object] = json.loads(Path(f"{output}.sweep.json").read_text())
    return content


@pytest.mark.parametrize(("wanted", "alpha"), [("short", 0), ("middle", 2), ("long", 6)])
def test_the_penalty_that_gives_the_references_is_found(
    output: str, wanted: str, alpha: float
) -> None:
    found = swept(output, wanted, "--alphas", "0,1,2,6")
    assert found["best"] == {"alpha": alpha, "reward": 0, "min_len": 0}
    assert found["decode_flags"] == f"--length_penalty {alpha}"
    assert len(found["settings"]) == 4  # type: ignore[arg-type]


def test_a_minimum_length_and_a_reward_are_found_too(output: str) -> None:
    found = swept(output, "middle", "--alphas", "0", "--min_lens", "0,2")
    assert found["rescore_flags"] == "--min_len 2"
    assert found["decode_flags"] == "--length_penalty 0 --min_len 2"
    found = swept(output, "long", "--alphas", "0", "--rewards", "0.1,1.2")
    assert found["rescore_flags"] == "--length_penalty 1.2"
    assert found["decode_flags"] == "--length_reward 1.2"


@pytest.mark.parametrize(
    ("penalty", "reward", "own"),
    [(2.0, 0.0, {"alpha": 2}), (-1.0, 0.0, {}), (0.0, 1.2, {"reward": 1.2})],
)
def test_the_settings_of_the_run_are_those_it_ranked_by(
    tmp_path: Path, penalty: float, reward: float, own: dict[str, float]
) -> None:
    found = swept(written(tmp_path, TRACE, penalty, reward), "short")
    assert found["run"] == {"alpha": 0, "reward": 0, "min_len": 0, **own}


def test_the_texts_of_the_run_are_scored_as_it_wrote_them(tmp_path: Path) -> None:
    dots = len(WORDS) - 1
    trace = Trace([[-1.0]] * 7, [[5], *[[dots]] * 5, [END]], [[0]] * 7)
    output = written(tmp_path, trace)
    Path(f"{output}.gold").write_text("red.....\n" * 3)
    main(["--input", output, "--gold", f"{output}.gold", "--alphas", "0", "--metric", "bleu"])
    (row,) = json.loads(Path(f"{output}.sweep.json").read_text())["settings"]
    assert row["objective"] == pytest.approx(100)


def test_of_equals_the_setting_that_changes_least_is_taken(output: str) -> None:
    found = swept(output, "short", "--alphas", "1,0.5,0")
    assert found["best"] == {"alpha": 0, "reward": 0, "min_len": 0}
    assert found["gain"] == {"value": 0, "low": 0, "high": 0, "p_value": 1}
    rows = [Row(Setting(alpha=a), s, {}, 0) for a, s in ((0, 1.0), (1, 2.0), (2, 2.0))]
    assert best_row(rows) is rows[1]


def test_rewards_below_zero_are_given_as_a_list(output: str) -> None:
    found = swept(output, "long", "--alphas", "0", "--rewards", "-1,-5e-1")
    rewards = [row["setting"]["reward"] for row in found["settings"]]  # type: ignore[attr-defined]
    assert rewards == [0, -0.5, -1]


def test_the_scores_are_those_of_an_evaluation(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = swept(output, "long", "--alphas", "0", "--metric", "rouge1", "--protocol", "xsum")
    (row,) = found["settings"]  # type: ignore[misc]
    assert row["scores"]["rouge1"] == pytest.approx(100 * 2 * 1 * 0.25 / 1.25)
    assert row["objective"] == row["scores"]["rouge1"]
    assert row["mean_tokens"] == 1
    shown = capsys.readouterr().out
    assert "alpha  reward  min_len" in shown
    assert "decode anew:" in shown


def test_what_does_not_depend_on_the_setting_is_done_once(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(module: ModuleType, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: (calls.append(name), real(*args))[1])

    counted(rescore, "candidates_of")
    counted(rescore, "sequence_of")
    counted(sweep, "_samples")
    swept(output, "long", "--alphas", "0,1,2,6", "--min_lens", "0,1,2,3")
    assert calls.count("candidates_of") == 3  # one a trace
    assert calls.count("sequence_of") == 3 * len(TEXTS)  # one for each that wins
    assert calls.count("_samples") == 2  # of the best setting and of the run's own


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--alphas", "a"], "--alphas a: give numbers"),
        (["--min_lens", "1.5"], "--min_lens 1.5: give whole numbers"),
        (["--alphas", "", "--rewards", ""], "give at least one number"),
        (["--alphas", "inf"], "--alphas is inf: give a number of at most 30"),
        (["--alphas", "0,-1"], "--alphas 0,-1: decoding takes a length penalty below 0 for 0"),
        (["--protocol", "qg"], "a sweep scores rows one by one"),
        (
            ["--protocol", "xglue_qg", "--no_stemmer"],
            "--no_stemmer has no effect with --protocol x",
        ),
        (["--protocol", "xglue_qg"], "--metric rouge: this protocol has only bleu"),
        (["--input", "nowhere"], "no trace file nowhere.trace.jsonl"),
    ],
)
def test_faults_are_named(output: str, arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        swept(output, "short", *arguments)


def test_references_of_other_rows_are_refused(output: str) -> None:
    Path(f"{output}.few").write_text("a\n")
    with pytest.raises(ValueError, match=r"has 3 examples, --gold .* 1 rows"):
        main(["--input", output, "--gold", f"{output}.few"])


def test_settings_span_a_grid_those_that_change_least_first() -> None:
    grid = GridOptions(alphas="1,0", rewards="0.5,0", min_lens="4,0")
    assert settings_of(grid) == [
        Setting(),
        Setting(alpha=1),
        Setting(min_len=4),
        Setting(alpha=1, min_len=4),
        Setting(reward=0.5),
        Setting(reward=0.5, min_len=4),
    ]


@pytest.mark.parametrize(("ending", "flag"), [(".gold", "--gold"), (".trace.jsonl", "--input")])
def test_what_is_read_is_not_written_over(output: str, ending: str, flag: str) -> None:
    traces = Path(f"{output}.trace.jsonl").read_bytes()
    with pytest.raises(ValueError, match=f"--output_file .*: is what {flag} reads"):
        swept(output, "short", "--output_file", f"{output}{ending}")
    assert Path(f"{output}.gold").read_text() == f"{TEXTS['short']}\n" * 3
    assert Path(f"{output}.trace.jsonl").read_bytes() == traces
