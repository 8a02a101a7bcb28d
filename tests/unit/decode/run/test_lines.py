"""What becomes of the rows of a file: a line each, in their order."""

import json
import logging

import numpy as np
import pytest

from s2s_ft.decode.loading import find_checkpoints
from s2s_ft.decode.rescore import RescoreOptions, rescore
from s2s_ft.text import TextCodec
from tests.unit.decode.run.conftest import SOURCES, TEXTS


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_one_line_a_row_in_input_order_whatever_the_batch(decode, batch_size):
    assert decode(batch_size=batch_size) == TEXTS


def test_longest_sources_come_first_and_empty_ones_never(decode, search):
    decode(batch_size=1)
    assert [len(source) for source in search.sources] == [7, 6, 5, 4, 3]


def test_sources_are_framed_by_the_method(decode, search, codec):
    decode(batch_size=100)
    special = codec.special
    assert search.sources[0].tolist() == [special.cls, codec.token_id("c"), special.sep]
    assert {source.dtype for source in search.sources} == {np.dtype(np.int64)}


def test_empty_and_cut_sources_are_counted(decode, caplog):
    with caplog.at_level(logging.INFO):
        lines = decode(max_seq_length=9, max_tgt_length=4)
    assert lines == ["a b", "c", "", "d e f", "hs a", "b b b", ""]
    assert "7 rows decoded" in caplog.text
    assert "2 rows have an empty source" in caplog.text
    assert "2 sources were cut to 5 tokens" in caplog.text


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        (["a x", "b y"], "no token for 25.0 % of the sources"),  # 2 of 8 with [CLS] and [SEP]
        (["a " * 40 + "x", "b"], ""),
        ([""], ""),
    ],
)
def test_sources_that_the_tokenizer_cannot_read_are_told_of(
    decode, input_file, caplog, sources, told
):
    input_file.write_text("".join(json.dumps({"src": text}) + "\n" for text in sources), "utf-8")
    with caplog.at_level(logging.WARNING):
        decode()
    assert [told in text for text in caplog.messages if "no token" in text] == [True] * bool(told)


def test_outputs_without_their_words_are_counted_once_over_all_shares(decode, caplog):
    with caplog.at_level(logging.WARNING):
        decode(force_words="b", batch_size=1)
    told = [text for text in caplog.messages if "lack" in text]
    assert told == ["3 outputs lack forced words, which had no room: raise --max_tgt_length"]


def test_jsonl_holds_the_best_hypotheses_with_scores(decode):
    rows = [
        json.loads(line)
        for line in decode(output_format="jsonl", num_return_sequences=2, beam_size=2)
    ]
    assert [row["index"] for row in rows] == list(range(len(SOURCES)))
    assert rows[0]["hypotheses"] == [
        {"text": "a b", "score": -1.0, "log_probability": -2.0, "tokens": 2, "finished": True},
        {"text": "a", "score": -2.0, "log_probability": -3.0, "tokens": 1, "finished": True},
    ]
    assert [hypothesis["text"] for hypothesis in rows[2]["hypotheses"]] == [""]


def test_a_line_break_in_an_output_does_not_break_the_file(decode, monkeypatch):
    monkeypatch.setattr(TextCodec, "decode", lambda self, ids: "x\u2028y\x85z")
    assert decode()[0] == "x [X_SEP] y [X_SEP] z"


def test_subset_takes_the_first_rows(decode):
    assert decode(subset=4) == TEXTS[:4]
    assert decode(subset=0) == TEXTS


def test_tokens_are_written_with_their_probabilities(decode):
    rows = map(json.loads, decode(output_format="jsonl", output_tokens=True))
    first = next(iter(rows))["hypotheses"][0]
    assert first["token_strings"] == ["a", "b", "[SEP]"]
    assert first["token_log_probabilities"] == [-0.5, -0.5, -0.5]


def test_traces_lie_beside_the_output_and_can_be_rescored(decode, tmp_path):
    decode(need_score_traces=True)
    lines = (tmp_path / "out.trace.jsonl").read_text(encoding="utf-8").splitlines()
    header, rows = json.loads(lines[0]), [json.loads(line) for line in lines[1:]]
    assert (header["num_examples"], header["eos_id"], header["beam_size"]) == (len(SOURCES), 3, 1)
    assert [row["index"] for row in rows] == list(range(len(SOURCES)))
    assert rows[1] == {
        "index": 1,
        "scores": [[0.0], [-1.0]],
        "ids": [[8], [3]],
        "parents": [[0], [0]],
    }
    assert rows[2]["scores"] == []
    rescore(RescoreOptions(input=str(tmp_path / "out"), alpha=1.0))
    assert (tmp_path / "out.alp1.0").read_text(encoding="utf-8").split("\n")[:-1] == TEXTS


def test_default_output_lies_beside_the_checkpoint(decode, tmp_path):
    (tmp_path / "out").touch()
    decode(output_file=None, split="test")
    decode(output_file=None)
    assert (tmp_path / "model.test").read_text(encoding="utf-8").startswith("a b\nc\n")
    assert (tmp_path / "model.dev.en").read_text(encoding="utf-8").startswith("a b\nc\n")


def test_a_pattern_decodes_with_every_checkpoint(decode, tmp_path):
    for step in (5, 10):
        (tmp_path / f"ckpt-{step}").mkdir()
        (tmp_path / f"ckpt-{step}" / "config.json").touch()
    (tmp_path / "out").touch()
    decode(model_path=str(tmp_path / "ckpt-*"), output_file=None, split="dev")
    assert (tmp_path / "ckpt-5.dev").read_text(encoding="utf-8").startswith("a b\n")
    assert (tmp_path / "ckpt-10.dev").read_text(encoding="utf-8").startswith("a b\n")
    with pytest.raises(ValueError, match="--output_file: one file cannot hold"):
        decode(model_path=str(tmp_path / "ckpt-*"))
    with pytest.raises(ValueError, match="--model_path: no checkpoint folder fits"):
        find_checkpoints(str(tmp_path / "other-*"))
