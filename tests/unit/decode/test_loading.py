"""Lengths and method of a checkpoint, and the flags that override them."""

from types import SimpleNamespace

import pytest

from s2s_ft.decode import loading
from s2s_ft.model.seq2seq import Seq2SeqSettings
from s2s_ft.options import DecodeOptions, build


@pytest.mark.parametrize("positions", [10, 512, None])
def test_source_and_target_fit_the_positions_of_the_model(monkeypatch, positions):
    monkeypatch.setattr(loading, "num_positions", lambda encoder: positions)
    model = SimpleNamespace(encoder=None, settings=Seq2SeqSettings())
    flags = {"model_path": "m", "input_file": "i", "max_seq_length": 600, "max_tgt_length": 7}
    assert loading._sequence_room(model, build(DecodeOptions, flags)) == (positions or 600)


def test_a_target_that_leaves_no_position_for_a_source_is_refused(monkeypatch):
    monkeypatch.setattr(loading, "num_positions", lambda encoder: 10)
    flags = {"model_path": "m", "input_file": "i", "max_tgt_length": 8}
    model = SimpleNamespace(encoder=None, settings=Seq2SeqSettings())
    with pytest.raises(ValueError, match=r"--max_tgt_length 8 .* --max_seq_length.* at most 7"):
        loading._sequence_room(model, build(DecodeOptions, flags))


@pytest.mark.parametrize(
    ("known", "flags", "expected"),
    [
        ((None, None), {}, (512, 128)),
        ((60, 20), {}, (80, 20)),
        ((60, 20), {"max_tgt_length": 9}, (69, 9)),
        ((60, 20), {"max_seq_length": 50}, (50, 20)),
        ((60, 20), {"max_seq_length": 50, "max_tgt_length": 5}, (50, 5)),
    ],
)
def test_lengths_are_those_of_training_unless_given(monkeypatch, known, flags, expected):
    monkeypatch.setattr(loading, "num_positions", lambda encoder: None)
    settings = Seq2SeqSettings(max_source_length=known[0], max_target_length=known[1])
    model = SimpleNamespace(encoder=None, settings=settings)
    options = build(DecodeOptions, {"model_path": "m", "input_file": "i", **flags})
    found = loading._sequence_room(model, options), loading._longest_target(model, options)
    assert found == expected


def test_a_minimum_beyond_the_longest_output_is_refused(monkeypatch):
    model = SimpleNamespace(encoder=None, settings=Seq2SeqSettings(max_target_length=8))
    options = build(DecodeOptions, {"model_path": "m", "input_file": "i", "min_len": 9})
    with pytest.raises(ValueError, match="--min_len 9 is more than the longest output, 8"):
        loading._longest_target(model, options)


def test_pos_shift_overrides_the_method_and_says_so(caplog):
    model = SimpleNamespace(settings=Seq2SeqSettings(method="masked"))
    assert loading._method_name(model, pos_shift=False) == "masked"
    assert loading._method_name(model, pos_shift=True) == "causal"
    assert "fine-tuned as masked" in caplog.text
