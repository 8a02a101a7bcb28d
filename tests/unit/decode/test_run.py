"""The story of a decoding run, with a stand-in search that gives the source's words back."""

import json
import logging
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from s2s_ft.cli import EnvironmentFault
from s2s_ft.decode import decoder, files, loading, run
from s2s_ft.decode.hypotheses import Hypothesis, SearchResult, Trace
from s2s_ft.decode.loading import FineTuned, find_checkpoints
from s2s_ft.decode.requests import NonFiniteScores, Request
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
    """What the stand-in saw: `batches` of sources, the `settings`; `fail_at` makes a row fail."""
    seen = SimpleNamespace(sources=[], settings=None, left_to_right=None, fault=None, fail_at=-1)

    def load(name, options, device):
        longest_target = options.search.max_tgt_length or 128
        longest = (options.data.max_seq_length or 512) - longest_target
        method = method_named(
            "pseudo_mask",
            special=codec.special,
            max_source_length=longest,
            max_target_length=longest_target,
        )
        model = SimpleNamespace(settings=Seq2SeqSettings(), name=name, device=device)
        return FineTuned(model, codec, method, codec.tokenizer.name_or_path, None, "weights")

    def generate(model, method, requests, settings, *, budget, left_to_right_source=False):
        seen.settings, seen.left_to_right = settings, left_to_right_source
        requests = iter(requests)
        while batch := list(islice(requests, budget.max_examples)):
            for request in reversed(batch):
                if len(seen.sources) == seen.fail_at:
                    raise seen.fault
                seen.sources.append(request.source)
                yield request, found(request.source, settings)

    def found(source, settings):
        words = tuple(source[1:-1].tolist())
        options = [words, words[:1]][: settings.num_return]
        hypotheses = [
            Hypothesis(ids, -1.0 - n, -2.0 - n, True, (-0.5,) * (len(ids) + 1))
            for n, ids in enumerate(options)
        ]
        ids = [*words, settings.eos_id]
        trace = Trace([[-float(n)] for n in range(len(ids))], [[n] for n in ids], [[0]] * len(ids))
        return SearchResult(hypotheses, trace if settings.keep_trace else None)

    monkeypatch.setattr(files, "load", load)
    monkeypatch.setattr(run, "load", load)
    monkeypatch.setattr(decoder, "generate", generate)
    monkeypatch.setattr(run, "make_ready", lambda device: None)
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
@pytest.mark.parametrize("fail_at", [0, 3, 4])
def test_a_run_that_fails_midway_is_gone_on_with(decode, search, tmp_path, fault, fail_at, caplog):
    """The lines of whole shares are kept, and only with --resume is anything made of them."""
    search.fault, search.fail_at = fault, fail_at
    with pytest.raises(type(fault)):
        decode(batch_size=1, need_score_traces=True)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.trace.jsonl").exists()
    assert (tmp_path / "out.journal").exists() == (fail_at > 0)
    assert ("the same command with --resume goes on" in caplog.text) == (fail_at > 0)
    search.fail_at = -1
    before = len(search.sources)
    assert decode(batch_size=1, need_score_traces=True, resume=True) == TEXTS
    assert len(search.sources) - before == 5 - before
    assert not (tmp_path / "out.journal").exists()
    whole = (tmp_path / "out.trace.jsonl").read_bytes()
    decode(batch_size=1, need_score_traces=True)
    assert (tmp_path / "out.trace.jsonl").read_bytes() == whole


def test_an_older_output_stays_until_a_newer_one_is_whole(decode, search, tmp_path):
    decode()
    search.fault, search.fail_at = RuntimeError("broken"), len(search.sources) + 3
    with pytest.raises(RuntimeError):
        decode(batch_size=1, subset=5)
    assert (tmp_path / "out").read_text(encoding="utf-8").split("\n")[:-1] == TEXTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beam_size": 2}, "search beam_size was 1, now 2; undo the change of --beam_size"),
        ({"subset": 5}, "input was .*…, now .*…; undo the change of --input_file"),
        ({"output_format": "jsonl"}, "output format was text, now jsonl"),
        ({"batch_size": 2}, "batch max_examples was 1, now 2"),
        ({"bf16": True}, "computing numbers was fp32, now bf16"),
    ],
)
def test_a_run_with_another_identity_is_not_gone_on_with(decode, search, change, message):
    search.fault, search.fail_at = KeyboardInterrupt(), 4
    with pytest.raises(KeyboardInterrupt):
        decode(batch_size=1)
    search.fail_at = -1
    with pytest.raises(ValueError, match=f"--resume: cannot go on with .*: {message}"):
        decode(**{"batch_size": 1, "resume": True, **change})
    assert decode(batch_size=1, resume=True) == TEXTS


def test_too_little_memory_is_the_environments_fault(decode, search):
    search.fault, search.fail_at = torch.OutOfMemoryError("CUDA out of memory"), 0
    with pytest.raises(EnvironmentFault, match="memory does not hold one row"):
        decode()


def test_scores_that_are_no_numbers_name_the_row(decode, search, monkeypatch):
    def generate(model, method, requests, settings, **keywords):
        for request in requests:
            yield request, SearchResult([Hypothesis((6,), float("nan"), -1.0, finished=True)], None)

    monkeypatch.setattr(decoder, "generate", generate)
    with pytest.raises(ValueError, match=r"dev.en.jsonl, line 5: gets scores that are no numbers"):
        decode(batch_size=1)


def test_what_the_engine_says_of_scores_names_the_row(decode, search):
    request = Request(4, np.array([2, 3]))
    search.fault, search.fail_at = NonFiniteScores(request), 0
    with pytest.raises(ValueError, match=r"dev.en.jsonl, line 5: gets scores that are no numbers"):
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


def test_rows_say_how_outputs_begin_and_what_they_hold(decode, search, input_file, monkeypatch):
    seen = []
    generate = decoder.generate

    def spy(model, method, requests, settings, **keywords):
        requests = list(requests)
        seen.extend((request.prefix, request.phrases) for request in requests)
        return generate(model, method, requests, settings, **keywords)

    monkeypatch.setattr(decoder, "generate", spy)
    rows = [
        {"src": "a b c d", "prefix": "b"},
        {"src": "a b c", "prefix": ["c", "d"], "force_words": "a|b c"},
        {"src": "a b", "force_words": ["d"], "id": "x"},
    ]
    input_file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    lines = decode(force_words="e", output_format="jsonl", beam_size=2)
    assert [json.loads(line).get("id") for line in lines] == [None, None, "x"]
    number = {letter: WORDS.index(letter) for letter in "abcde"}
    assert seen == [
        ((number["b"],), ((number["e"],),)),
        ((number["c"], number["d"]), ((number["e"],), (number["a"],), (number["b"], number["c"]))),
        ((), ((number["e"],), (number["d"],))),
    ]


@pytest.mark.parametrize(
    ("row", "flags", "message"),
    [
        ({"force_words": "zzz"}, {}, "line 1: force_words: the tokenizer cannot write 'zzz'"),
        ({"force_words": "a"}, {"do_sample": True}, "line 1: force_words and --do_sample exclude"),
        ({"prefix": "a b c d"}, {"max_tgt_length": 4}, "line 1: its prefix and force_words have 4"),
        ({"prefix": 4}, {}, "line 1: 'prefix' is a number"),
    ],
)
def test_what_a_row_cannot_have_names_its_line(decode, input_file, row, flags, message):
    input_file.write_text(json.dumps({"src": "a", **row}), encoding="utf-8")
    with pytest.raises(ValueError, match=f"dev.en.jsonl, {message}"):
        decode(**flags)


def test_what_was_not_given_comes_from_the_checkpoint(decode, search, tmp_path, caplog):
    (tmp_path / "model").mkdir()
    content = {"num_beams": 4, "length_penalty": 0.7, "no_repeat_ngram_size": 2, "max_length": 9}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(content))
    with caplog.at_level(logging.INFO):
        decode(length_penalty=0.0)
    settings = search.settings
    assert (settings.beam_size, settings.length_penalty) == (4, 0.0)
    assert (settings.ngram_size, settings.max_length) == (2, 9)
    told = "beam_size 4, forbid_duplicate_ngrams True, max_tgt_length 9, ngram_size 2"
    assert f"generation_config.json: {told}" in caplog.text
    decode(beam_size=1, forbid_duplicate_ngrams=False)
    assert (search.settings.beam_size, search.settings.ngram_size) == (1, 0)


def test_a_wrong_default_of_the_checkpoint_names_its_file(decode, tmp_path):
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "generation_config.json"
    path.write_text('{"num_beams": "many"}')
    with pytest.raises(ValueError, match=r"generation_config.json: num_beams: expected a whole"):
        decode()
    path.write_text('{"min_new_tokens": 9}')
    with pytest.raises(ValueError, match=r"--max_tgt_length 5.*what .*generation_config.json says"):
        decode(max_tgt_length=5)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"generation_config.json is not JSON"):
        decode()


def test_tokens_are_written_with_their_probabilities(decode):
    rows = map(json.loads, decode(output_format="jsonl", output_tokens=True))
    first = next(iter(rows))["hypotheses"][0]
    assert first["token_strings"] == ["a", "b", "[SEP]"]
    assert first["token_log_probabilities"] == [-0.5, -0.5, -0.5]


def test_a_text_file_has_a_source_on_each_line(decode, tmp_path):
    path = tmp_path / "rows.txt"
    path.write_bytes(b"\xef\xbb\xbfa b\r\n\n{c\n  \nd")
    assert decode(input_file=str(path)) == ["a b", "", "[UNK] c", "", "d"]
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(ValueError, match=r"rows\.txt, line 2: not UTF-8"):
        decode(input_file=str(path))
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"rows\.txt: holds no rows"):
        decode(input_file=str(path))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"input_file": ""}, "--input_file is empty or missing"),
        ({"interactive": True}, "--interactive reads what is typed"),
        ({"output_tokens": True}, "--output_tokens needs --output_format jsonl"),
        ({"output_file": "-", "workers": 2}, "--workers and --output_file - exclude each other"),
        ({"output_file": "-", "resume": True}, "--resume and --output_file - exclude each other"),
        ({"output_file": "-", "need_score_traces": True}, "--need_score_traces and --output_file"),
        ({"bf16": True, "int8": True}, "--bf16 and --int8 exclude each other"),
        ({"workers": 0}, "--workers is 0"),
    ],
)
def test_flags_that_contradict_each_other_are_named(decode, flags, message):
    with pytest.raises(ValueError, match=message):
        decode(**flags)
