"""Paired bootstrap: no difference, a clear one, sacrebleu's verdict, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from s2s_ft.evaluation.measures import Measure, means
from s2s_ft.evaluation.options import ProtocolOptions, ScoringOptions
from s2s_ft.evaluation.run import main
from s2s_ft.evaluation.significance import compare, comparison_table
from s2s_ft.evaluation.testset import TestSet


def measure(values: np.ndarray) -> Measure:
    return Measure("score", "Score", "", values[:, None], means)


def test_equal_systems_differ_by_nothing() -> None:
    values = np.random.default_rng(0).random(50)
    (found,) = compare([measure(values)], [measure(values)], num_bootstrap=200, seed=1)
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert (found.p_value, found.wins) == (1, 0.5)


def test_a_clear_difference_is_found_and_noise_is_not() -> None:
    random = np.random.default_rng(0)
    values, noise = random.random(200), random.normal(0, 0.2, size=200)
    better = values + 0.2 + noise - noise.mean()
    (clear,) = compare([measure(better)], [measure(values)], num_bootstrap=500, seed=1)
    assert clear.difference == pytest.approx(20)
    assert clear.low < 20 < clear.high
    assert clear.p_value == pytest.approx(1 / 501)
    assert clear.wins == 1
    (faint,) = compare(
        [measure(values + noise - noise.mean() + 0.003)],
        [measure(values)],
        num_bootstrap=500,
        seed=1,
    )
    assert faint.p_value > 0.5


def test_p_values_are_uniform_where_there_is_no_difference() -> None:
    random = np.random.default_rng(3)
    found = [
        compare(
            [measure(random.random(60))], [measure(random.random(60))], num_bootstrap=99, seed=2
        )[0].p_value
        for _ in range(200)
    ]
    assert 0.01 <= np.mean(np.asarray(found) <= 0.05) <= 0.11
    assert 0.4 < np.mean(found) < 0.6


def test_the_seed_fixes_the_verdict() -> None:
    random = np.random.default_rng(0)
    one, two = [measure(random.random(50))], [measure(random.random(50))]
    first = compare(one, two, num_bootstrap=50, seed=1)
    assert first == compare(one, two, num_bootstrap=50, seed=1)
    assert first != compare(one, two, num_bootstrap=50, seed=2)


def test_bleu_gets_the_verdict_of_sacrebleu(debsum: tuple[list[str], list[str]]) -> None:
    sources, references = debsum
    worse = [" ".join(text.split()[::-1]) if n % 3 == 0 else text for n, text in enumerate(sources)]
    scoring = ScoringOptions(num_bootstrap=500)
    test_set = TestSet(references, scoring, ProtocolOptions())
    bleu = [[m for m in test_set.measures(texts) if m.key == "bleu"] for texts in (worse, sources)]
    (ours,) = compare(*bleu, num_bootstrap=500, seed=1)
    _, theirs = PairedTest(
        [("base", sources), ("worse", worse)],
        {"BLEU": BLEU(references=[references])},
        None,
        test_type="bs",
        n_samples=500,
    )()
    assert ours.value == pytest.approx(theirs["BLEU"][1].score)
    assert ours.p_value == pytest.approx(theirs["BLEU"][1].p_value, abs=0.08)


def test_the_command_compares(
    tmp_path: Path, debsum: tuple[list[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    references = debsum[1][:30]
    files = {name: tmp_path / name for name in ("gold", "good", "bad", "few")}
    files["gold"].write_text("\n".join(references) + "\n")
    files["good"].write_text("\n".join(references) + "\n")
    files["bad"].write_text("\n".join(text[: len(text) // 2] for text in references) + "\n")
    files["few"].write_text("a\n")
    command = ["--pred", str(files["good"]), "--gold", str(files["gold"]), "--num_bootstrap", "50"]
    main([*command, "--compare", str(files["bad"])])
    assert "paired bootstrap" in capsys.readouterr().out
    written = json.loads(Path(f"{files['good']}.scores.json").read_text())
    for score in written["compared"][str(files["bad"])].values():
        assert score["low"] > 0
        assert score["p_value"] < 0.05
    with pytest.raises(ValueError, match=r"--compare .* has 1 rows"):
        main([*command, "--compare", str(files["few"])])


def test_the_table_has_a_line_a_score() -> None:
    values = np.arange(5) / 5
    found = compare([measure(values)], [measure(values[::-1])], num_bootstrap=5, seed=0)
    assert len(comparison_table(found, ("a", "b")).split("\n")) == 2
