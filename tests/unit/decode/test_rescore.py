"""Rescoring: each preference changes the choice as it says, and the command writes new texts."""

import logging
import subprocess
import sys
from dataclasses import replace

import pytest

from s2s_ft.decode.lines.traces import TraceHeader, header_line, trace_line
from s2s_ft.decode.rescore import (
    RescoreOptions,
    best_sequence,
    candidates_of,
    rescore,
    sequence_of,
    text_length,
)
from s2s_ft.decode.search.hypotheses import Trace
from s2s_ft.decode.search.settings import SearchSettings
from tests.unit.decode.chain import EOS
from tests.unit.decode.markov import random_tables, run

END, PAD = 3, 0

# Two beams. Ends: [5 #] -1.0 at step 1, [5 6 #] -1.6 at step 2, and at the last step, not ended,
# [5 6 7 8] -2.4.
# What continues [5 #] carries -10000.
TRACE = Trace(
    scores=[[-0.5, -9.0], [-0.9, -1.0], [-1.6, -1.8], [-2.4, -10001.9]],
    ids=[[5, 9], [6, END], [END, 7], [8, 6]],
    parents=[[0, 0], [0, 0], [0, 0], [1, 0]],
)
SHORT, MIDDLE, LONG = [5, END], [5, 6, END], [5, 6, 7, 8]


def best(**preferences):
    return best_sequence(TRACE, eos_id=END, **preferences)


def test_without_preferences_the_likeliest_wins():
    assert best() == SHORT


def test_alpha_favours_length():
    assert best(alpha=1.0) == SHORT
    assert best(alpha=4.0) == LONG


def test_a_reward_for_every_token():
    assert best(length_penalty=0.65) == MIDDLE
    assert best(length_penalty=2.0) == LONG
    assert best(length_penalty=-1.0) == SHORT


@pytest.mark.parametrize(("length", "expected"), [(2, SHORT), (3, MIDDLE), (4, LONG), (9, LONG)])
def test_an_expected_length_draws_towards_it(length, expected):
    assert best(length_penalty=5.0, expected_length=length) == expected


def test_an_expected_length_needs_a_penalty():
    assert best(expected_length=4) == SHORT


def test_the_penalty_goes_before_alpha():
    assert best(length_penalty=-1.0, alpha=4.0) == SHORT


@pytest.mark.parametrize(("minimum", "expected"), [(0, SHORT), (1, SHORT), (2, MIDDLE), (3, LONG)])
def test_minimum_length_counts_tokens_before_the_end(minimum, expected):
    assert best(min_length=minimum) == expected


def test_a_minimum_that_nothing_reaches_is_no_minimum():
    assert best(min_length=40) == SHORT


def test_what_continues_an_ended_hypothesis_is_none():
    assert best(length_penalty=1e5) == LONG  # the filler [5 # ...] has as many tokens


def test_the_first_of_equals_wins():
    trace = Trace(scores=[[-1.0, -1.0]], ids=[[END, 5]], parents=[[0, 0]])
    assert best_sequence(trace, eos_id=END) == [END]


@pytest.mark.parametrize(
    ("ranking", "preferences"),
    [
        ({}, {}),
        ({"length_penalty": 0.9}, {"alpha": 0.9}),
        ({"length_penalty": 3.0}, {"alpha": 3.0}),
        ({"length_reward": 0.8}, {"length_penalty": 0.8}),
        ({"length_reward": -0.5}, {"length_penalty": -0.5}),
    ],
)
@pytest.mark.parametrize("rules", [{}, {"ngram_size": 2, "min_length": 2}])
def test_a_search_with_another_ranking_finds_what_is_picked_from_the_trace(
    rules, ranking, preferences
):
    tables = random_tables(40, 7, seed=3)
    settings = SearchSettings(beam_size=3, max_length=9, eos_id=EOS, **rules)
    once = run(tables, replace(settings, keep_trace=True))
    for result, anew in zip(once, run(tables, replace(settings, **ranking)), strict=True):
        (wanted,) = anew.hypotheses
        picked = best_sequence(result.trace, eos_id=EOS, **preferences)
        assert picked == [*wanted.ids, *([EOS] if wanted.finished else [])]


def test_nothing_after_the_step_where_all_have_ended():
    trace = Trace(
        scores=[[-1.0], [-0.5]],
        ids=[[END], [7]],
        parents=[[0], [0]],
    )
    assert best_sequence(trace, eos_id=END) == [END]


def test_a_trace_without_steps_gives_nothing():
    assert best_sequence(Trace(), eos_id=END) == []


def test_padding_ends_a_text():
    trace = Trace(scores=[[-0.1], [-0.2], [-0.3]], ids=[[5], [PAD], [6]], parents=[[0], [0], [0]])
    assert best_sequence(trace, eos_id=END, pad_id=PAD) == [5, PAD]
    assert best_sequence(trace, eos_id=END) == [5, PAD, 6]
    assert best_sequence(trace, eos_id=END, pad_id=PAD, min_length=2) == [5, PAD]


@pytest.mark.parametrize("pad_id", [None, 1])
def test_a_candidate_knows_the_length_of_its_text(pad_id):
    """Also where it went on after padding, more than once."""
    settings = SearchSettings(beam_size=3, max_length=9, eos_id=EOS, keep_trace=True)
    lengths = []
    for result in run(random_tables(40, 7, seed=3), settings):
        for candidate in candidates_of(result.trace, EOS, pad_id):
            ids = sequence_of(result.trace, candidate)
            assert candidate.text_length == text_length(ids, EOS, pad_id)
            lengths.append(len(ids) - candidate.text_length)
    assert max(lengths) == 1 if pad_id is None else max(lengths) > 2


def test_traces_are_read_without_torch():
    """So that a mistyped name and a damaged file are told of at once."""
    code = (
        "import sys\nfrom s2s_ft.decode.rescore import main\n"
        "try:\n    main(['--input', 'absent'])\nexcept ValueError as fault:\n    print(fault)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "no trace file" in done.stdout


@pytest.fixture
def tokenizer_folder(tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "##ty", "sat", "!", "mat"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def output(tmp_path, tokenizer_folder):
    """The name of a decoding run's output that has a trace of three examples."""
    header = TraceHeader(
        num_examples=3,
        eos_id=END,
        pad_id=PAD,
        beam_size=2,
        length_penalty=0.0,
        tokenizer=str(tokenizer_folder),
        do_lower_case=None,
    )
    shouted = Trace(
        scores=[[-1.0]] * 6,
        ids=[[5], [8], [8], [8], [8], [END]],
        parents=[[0]] * 6,
    )
    lines = [
        header_line(header),
        *(trace_line(i, t) for i, t in enumerate((TRACE, Trace(), shouted))),
    ]
    (tmp_path / "run.dev.trace.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "run.dev"


def text(path):
    return path.read_text(encoding="utf-8")


def test_writes_a_text_for_every_example(output):
    assert rescore(RescoreOptions(input=str(output))) == 0
    assert text(output.with_name("run.dev.rescored")) == "cat\n\ncat ! ! ! !\n"


def test_repeated_punctuation_is_shortened_where_it_is_asked_for(output):
    rescore(RescoreOptions(input=str(output), collapse_punctuation=True))
    assert text(output.with_name("run.dev.rescored")) == "cat\n\ncat !\n"


def test_the_name_tells_the_options(output):
    rescore(RescoreOptions(input=str(output), length_penalty=0.65, expect=3.0, min_len=1))
    assert text(output.with_name("run.dev.lenp0.65exp3.0minl1")).startswith("catty\n")


def test_an_expected_length_of_nothing_is_one(output):
    rescore(RescoreOptions(input=str(output), length_penalty=50.0))
    assert text(output.with_name("run.dev.lenp50.0")).startswith("catty sat !\n")
    rescore(RescoreOptions(input=str(output), length_penalty=50.0, expect=0.0))
    assert text(output.with_name("run.dev.lenp50.0exp0.0")).startswith("cat\n")


def test_the_trace_itself_and_patterns_are_inputs(output, tmp_path):
    rescore(RescoreOptions(input=f"{output}.trace.jsonl", alpha=4.0))
    rescore(RescoreOptions(input=f"{tmp_path}/run.*", alpha=5.0))
    assert text(output.with_name("run.dev.alp4.0")).startswith("catty sat !\n")
    assert text(output.with_name("run.dev.alp5.0")).startswith("catty sat !\n")


def test_output_file_is_the_users_choice(output, tmp_path):
    rescore(RescoreOptions(input=str(output), output_file=str(tmp_path / "new")))
    assert text(tmp_path / "new").startswith("cat\n")


def test_no_trace_is_the_users_fault(tmp_path):
    with pytest.raises(ValueError, match=r"--input: no trace file .*--need_score_traces"):
        rescore(RescoreOptions(input=str(tmp_path / "absent")))


def test_one_output_file_for_two_inputs_is_refused(output, tmp_path):
    copy = tmp_path / "other.dev.trace.jsonl"
    copy.write_bytes((tmp_path / "run.dev.trace.jsonl").read_bytes())
    with pytest.raises(ValueError, match="--output_file: one file cannot hold the 2 outputs"):
        rescore(
            RescoreOptions(input=f"{tmp_path}/*.trace.jsonl", output_file=str(tmp_path / "new"))
        )


def test_a_tokenizer_that_does_not_fit_is_refused(output, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "cat", "sat", "mat", "[SEP]"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"--tokenizer_name: .* ends a text with id 7"):
        rescore(RescoreOptions(input=str(output), tokenizer_name=str(folder)))


def test_options_without_effect_are_named(output, caplog):
    options = RescoreOptions(input=str(output), expect=3.0)
    rescore(options)
    rescore(replace(options, length_penalty=1.0, alpha=1.0))
    assert "--expect has no effect" in caplog.text
    assert "--alpha has no effect" in caplog.text


def test_examples_that_cannot_be_that_long_are_counted(output, caplog):
    with caplog.at_level(logging.WARNING):
        rescore(RescoreOptions(input=str(output), min_len=5))
    assert "1 examples have no hypothesis of --min_len 5 tokens" in caplog.text


@pytest.mark.parametrize("values", [{"min_len": -1}, {"alpha": float("nan")}, {"output_file": " "}])
def test_bad_values_name_their_flag(values):
    with pytest.raises(ValueError, match=f"--{next(iter(values))}"):
        RescoreOptions(input="x", **values)


@pytest.mark.parametrize("ending", ["", ".trace.jsonl"])
def test_what_is_read_is_not_written_over(output, ending):
    traces = output.with_name("run.dev.trace.jsonl")
    before = traces.read_bytes()
    with pytest.raises(ValueError, match=r"--output_file .*: is what --input reads"):
        rescore(RescoreOptions(input=str(output), output_file=f"{output}{ending}"))
    assert traces.read_bytes() == before
