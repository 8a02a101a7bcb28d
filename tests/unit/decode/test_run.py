"""The story of a decoding run, with a stand-in search that gives the source's words back."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode import loading, run
from s2s_ft.decode.beam_search import Hypothesis, SearchResult, Trace
from s2s_ft.decode.loading import FineTuned, find_checkpoints
from s2s_ft.decode.rescore import RescoreOptions, rescore
from s2s_ft.methods import method_named
from s2s_ft.model.seq2seq import Seq2SeqSettings
from s2s_ft.options import DecodeOptions, build
from s2s_ft.text import TextCodec

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[X_SEP]", *"abcdefgh", "##s", "."]
SOURCES = ["a b", "c", "", "d e f g", "hs a . a", "b b b", "  "]


@pytest.fixture
def codec(tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return TextCodec.load(folder)


@pytest.fixture
def search(monkeypatch, codec):
    """What the stand-in saw: `batches` of sources, the `settings`; `fail_at` makes a batch fail."""
    seen = SimpleNamespace(batches=[], settings=None, left_to_right=None, fault=None, fail_at=-1)

    def load(name, options, device):
        longest_target = options.search.max_tgt_length or 128
        longest = (options.data.max_seq_length or 512) - longest_target
        method = method_named(
            "pseudo_mask",
            special=codec.special,
            max_source_length=longest,
            max_target_length=longest_target,
        )
        model = SimpleNamespace(settings=Seq2SeqSettings(), name=name)
        return FineTuned(model, codec, method, codec.tokenizer.name_or_path, None)

    def generate(model, method, sources, settings, *, left_to_right_source=False):
        if len(seen.batches) == seen.fail_at:
            raise seen.fault
        seen.batches.append([source.tolist() for source in sources])
        seen.settings, seen.left_to_right = settings, left_to_right_source
        return [found(source, settings) for source in sources]

    def found(source, settings):
        words = tuple(source[1:-1].tolist())
        options = [words, words[:1]][: settings.num_return]
        hypotheses = [
            Hypothesis(ids, -1.0 - n, -2.0 - n, finished=True) for n, ids in enumerate(options)
        ]
        ids = [*words, settings.eos_id]
        trace = Trace([[-float(n)] for n in range(len(ids))], [[n] for n in ids], [[0]] * len(ids))
        return SearchResult(hypotheses, trace if settings.keep_trace else None)

    monkeypatch.setattr(run, "load", load)
    monkeypatch.setattr(run, "generate", generate)
    monkeypatch.setattr(run, "fast_float32_matmul", lambda: None)
    return seen


@pytest.fixture
def input_file(tmp_path):
    path = tmp_path / "dev.en.jsonl"
    rows = [json.dumps({"src": source}) for source in SOURCES]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def decode(tmp_path, input_file, search):
    """Runs `decode` with flags and returns the lines of the output."""

    def decode(**flags):
        (tmp_path / "model").mkdir(exist_ok=True)
        values = {"model_path": str(tmp_path / "model"), "input_file": str(input_file)}
        values |= {"output_file": str(tmp_path / "out"), "no_cuda": True, **flags}
        assert run.decode(build(DecodeOptions, values)) == 0
        return (tmp_path / "out").read_text(encoding="utf-8").split("\n")[:-1]

    return decode


TEXTS = ["a b", "c", "", "d e f g", "hs a . a", "b b b", ""]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_one_line_a_row_in_input_order_whatever_the_batch(decode, batch_size):
    assert decode(batch_size=batch_size) == TEXTS


def test_longest_sources_come_first_and_empty_ones_never(decode, search):
    decode(batch_size=2)
    lengths = [[len(source) for source in batch] for batch in search.batches]
    assert lengths == [[7, 6], [5, 4], [3]]


def test_sources_are_framed_by_the_method(decode, search, codec):
    decode(batch_size=100)
    assert search.batches[0][-1] == [codec.special.cls, codec.token_id("c"), codec.special.sep]


def test_empty_and_cut_sources_are_counted(decode, caplog):
    with caplog.at_level(logging.INFO):
        lines = decode(max_seq_length=9, max_tgt_length=4)
    assert lines == ["a b", "c", "", "d e f", "hs a", "b b b", ""]
    assert "7 rows decoded" in caplog.text
    assert "2 rows have an empty source" in caplog.text
    assert "2 sources were cut to 5 tokens" in caplog.text


def test_jsonl_holds_the_best_hypotheses_with_scores(decode):
    rows = [
        json.loads(line)
        for line in decode(output_format="jsonl", num_return_sequences=2, beam_size=2)
    ]
    assert [row["index"] for row in rows] == list(range(len(SOURCES)))
    assert rows[0]["hypotheses"] == [
        {"text": "a b", "score": -1.0, "log_probability": -2.0, "tokens": 2},
        {"text": "a", "score": -2.0, "log_probability": -3.0, "tokens": 1},
    ]
    assert [hypothesis["text"] for hypothesis in rows[2]["hypotheses"]] == [""]


def test_a_line_break_in_an_output_does_not_break_the_file(decode, monkeypatch):
    monkeypatch.setattr(TextCodec, "decode", lambda self, ids: "x\u2028y\x85z")
    assert decode()[0] == "x [X_SEP] y [X_SEP] z"


def test_subset_takes_the_first_rows(decode):
    assert decode(subset=4) == TEXTS[:4]
    assert decode(subset=0) == TEXTS


def test_default_output_lies_beside_the_checkpoint(decode, tmp_path):
    (tmp_path / "out").touch()
    decode(output_file=None, split="test")
    decode(output_file=None)
    assert (tmp_path / "model.test").read_text(encoding="utf-8").startswith("a b\nc\n")
    assert (tmp_path / "model.dev").read_text(encoding="utf-8").startswith("a b\nc\n")


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


@pytest.mark.parametrize(
    "fault",
    [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(143)],
    ids=lambda fault: type(fault).__name__,
)
def test_a_run_that_fails_midway_leaves_nothing(decode, search, tmp_path, fault):
    search.fault, search.fail_at = fault, 2
    before = sorted(tmp_path.iterdir())
    with pytest.raises(type(fault)):
        decode(batch_size=2, need_score_traces=True)
    assert len(search.batches) == 2
    assert sorted(path for path in tmp_path.iterdir() if path.name != "model") == before


def test_too_little_memory_is_the_environments_fault(decode, search):
    search.fault, search.fail_at = torch.OutOfMemoryError("CUDA out of memory"), 0
    with pytest.raises(EnvironmentFault, match="lower --batch_size"):
        decode()


def test_scores_that_are_no_numbers_name_the_row(decode, monkeypatch):
    result = SearchResult([Hypothesis((6,), float("nan"), float("nan"), finished=True)], None)
    monkeypatch.setattr(run, "generate", lambda *arguments, **keywords: [result])
    with pytest.raises(ValueError, match="row 5 of the input gets scores that are no numbers"):
        decode(batch_size=1)


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


def test_search_settings_come_from_the_flags(decode, search, codec):
    decode(
        beam_size=3,
        max_tgt_length=20,
        min_len=2,
        length_penalty=0.7,
        forbid_duplicate_ngrams=True,
        ngram_size=2,
        forbid_ignore_word=".|[x_sep]",
        mode="l2r",
    )
    settings = search.settings
    assert (settings.beam_size, settings.max_length, settings.min_length) == (3, 20, 2)
    assert (settings.length_penalty, settings.ngram_size, settings.eos_id) == (
        0.7,
        2,
        codec.special.sep,
    )
    assert settings.ignore_ids == (codec.token_id("."), codec.token_id("[X_SEP]"))
    assert search.left_to_right is True


def test_ngrams_may_repeat_unless_forbidden(decode, search):
    decode(ngram_size=2)
    assert search.settings.ngram_size == 0
    assert search.left_to_right is False


def test_an_unknown_word_names_its_flag(decode):
    with pytest.raises(ValueError, match="--forbid_ignore_word: 'zzz' is no token"):
        decode(forbid_ignore_word=".|zzz")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"dev.en.jsonl, line 8: not JSON"),
        ('{"tgt": "x"}', r"dev.en.jsonl, line 8: no 'src'"),
        ('{"src": 3}', r"dev.en.jsonl, line 8: 'src' is a number"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(decode, input_file, tmp_path, row, message):
    input_file.write_text(input_file.read_text(encoding="utf-8") + row + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        decode()
    assert not (tmp_path / "out").exists()


def test_output_must_be_neither_folder_nor_input(decode, tmp_path, input_file):
    with pytest.raises(ValueError, match=r"--output_file: .* is a folder"):
        decode(output_file=str(tmp_path))
    with pytest.raises(ValueError, match=r"--output_file: .* is the input"):
        decode(output_file=str(input_file))


def test_float16_on_a_cpu_is_refused(decode):
    with pytest.raises(ValueError, match="--fp16 needs a CUDA device; give --bf16"):
        decode(fp16=True)


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


def test_sources_are_arrays_of_int64(decode, search, monkeypatch):
    kinds = []
    generate = run.generate

    def spy(model, method, sources, settings, **keywords):
        kinds.extend(source.dtype for source in sources)
        return generate(model, method, sources, settings, **keywords)

    monkeypatch.setattr(run, "generate", spy)
    decode()
    assert set(kinds) == {np.dtype(np.int64)}
