"""Lengths of a checkpoint, and the flags that override them."""

import pytest

from s2s_ft.decode.lengths import KnownLengths
from s2s_ft.options import DecodeOptions, build


def options(**flags):
    return build(DecodeOptions, {"model_path": "m", "input_file": "i", **flags})


@pytest.mark.parametrize("positions", [10, 512, None])
def test_source_and_target_fit_the_positions_of_the_model(positions):
    known = KnownLengths(None, None, positions)
    room = known.longest_source(options(max_seq_length=600, max_tgt_length=7))
    assert room == (positions or 600) - 7


def test_a_target_that_leaves_no_position_for_a_source_is_refused():
    with pytest.raises(ValueError, match=r"--max_tgt_length 8 .* --max_seq_length.* at most 7"):
        KnownLengths(None, None, 10).longest_source(options(max_tgt_length=8))


@pytest.mark.parametrize(
    ("known", "flags", "expected"),
    [
        ((None, None), {}, (512 - 128, 128)),
        ((60, 20), {}, (60, 20)),
        ((60, 20), {"max_tgt_length": 9}, (60, 9)),
        ((60, 20), {"max_seq_length": 50}, (30, 20)),
        ((60, 20), {"max_seq_length": 50, "max_tgt_length": 5}, (45, 5)),
    ],
)
def test_lengths_are_those_of_training_unless_given(known, flags, expected):
    lengths, given = KnownLengths(*known, None), options(**flags)
    assert (lengths.longest_source(given), lengths.longest_target(given)) == expected


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"max_seq_length": 70}, "--max_seq_length 70 is more than the 64 positions of the model"),
        (
            {"max_tgt_length": 60},
            "sources of 24 tokens and outputs of 60 are more than the 64 positions of the model: "
            "sources are cut to 4 tokens; lower --max_tgt_length",
        ),
    ],
)
def test_a_shortfall_of_positions_is_told_in_terms_of_what_was_given(flags, told, caplog):
    KnownLengths(24, 12, 64).longest_source(options(**flags))
    assert [text.startswith(told) for text in caplog.messages] == [True]


def test_a_minimum_beyond_the_longest_output_is_refused():
    with pytest.raises(ValueError, match="--min_len 9 is more than the longest output, 8"):
        KnownLengths(None, 8, None).longest_target(options(min_len=9))
