"""What flags and the checkpoint's defaults say of a run."""

import json
import logging
import os

import pytest

from s2s_ft.decode.ways.files import output_file
from s2s_ft.options import DecodeOptions, build
from s2s_ft.options.decode import DecodeRuntimeOptions


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


def test_ngrams_may_repeat_unless_forbidden(decode, search, caplog):
    decode(ngram_size=3)
    assert "no effect" not in caplog.text
    decode(ngram_size=2, forbid_ignore_word=".")
    assert search.settings.ngram_size == 0
    assert search.left_to_right is False
    for name in ("ngram_size", "forbid_ignore_word"):
        assert f"--{name} has no effect without --forbid_duplicate_ngrams" in caplog.text
    caplog.clear()
    decode(ngram_size=2, forbid_ignore_word=".", forbid_duplicate_ngrams=True)
    assert "no effect" not in caplog.text


def test_an_unknown_word_names_its_flag(decode):
    with pytest.raises(ValueError, match="--forbid_ignore_word: 'zzz' is no token"):
        decode(forbid_ignore_word=".|zzz")


def test_words_that_never_all_come_name_their_flag(decode):
    decode(force_words="a|b c|a", max_tgt_length=4)
    with pytest.raises(ValueError, match=r"^--force_words: the words have 3 tokens, and outputs 3"):
        decode(force_words="a|b c|a", max_tgt_length=3)


def test_output_must_be_neither_folder_nor_input(decode, tmp_path, input_file):
    with pytest.raises(ValueError, match=r"--output_file .*: is a folder"):
        decode(output_file=str(tmp_path))
    with pytest.raises(ValueError, match=r"--output_file .*: is what --input_file reads"):
        decode(output_file=str(input_file))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"--output_file .*/pipe: is a device or a pipe"):
        decode(output_file=str(tmp_path / "pipe"))
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", [".", "inner/.."])
def test_the_default_output_lies_beside_a_folder_that_is_named_by_dots(tmp_path, monkeypatch, name):
    (tmp_path / "model" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "model")
    flags = {"model_path": name, "input_file": "dev.en.jsonl"}
    assert output_file(name, build(DecodeOptions, flags)) == tmp_path / "model.dev.en"


def test_output_must_not_be_of_the_checkpoint_nor_traces_the_input(decode, tmp_path, input_file):
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    with pytest.raises(ValueError, match="belongs to the checkpoint that --model_path names"):
        decode(output_file=str(weights))
    assert weights.read_bytes() == b"weights"
    traces = input_file.rename(tmp_path / "x.trace.jsonl")
    with pytest.raises(ValueError, match=r"x.trace.jsonl: is what --input_file reads"):
        decode(input_file=str(traces), output_file=str(tmp_path / "x"), need_score_traces=True)


@pytest.mark.parametrize("ending", [".journal", ".journal.old"])
def test_the_journal_takes_the_place_of_nothing_that_is_read(decode, tmp_path, input_file, ending):
    rows = input_file.rename(tmp_path / f"x{ending}")
    before = rows.read_bytes()
    with pytest.raises(ValueError, match=rf"x{ending}: is what --input_file reads"):
        decode(input_file=str(rows), output_file=str(tmp_path / "x"))
    assert rows.read_bytes() == before


def test_an_output_that_cannot_be_written_names_its_flag(decode, input_file):
    with pytest.raises(OSError, match=r"^--output_file .* cannot be written: (Not a|File exists)"):
        decode(output_file=str(input_file / "out"))


def test_more_workers_than_any_machine_has_cores_for_are_refused():
    with pytest.raises(ValueError, match="--workers is 2147483648: give a number of at most"):
        DecodeRuntimeOptions(workers=2147483648)


def test_float16_on_a_cpu_is_refused(decode):
    with pytest.raises(ValueError, match="--fp16 needs a CUDA device; give --bf16"):
        decode(fp16=True)


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
    decode(forbid_ignore_word=".")
    assert "no effect" not in caplog.text


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


def test_a_file_is_named_for_what_it_says_only(decode, search, tmp_path):
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "generation_config.json"
    path.write_text('{"do_sample": true}')
    with pytest.raises(ValueError, match=r"--do_sample and --need_.*generation_config.json says"):
        decode(need_score_traces=True)
    with pytest.raises(ValueError, match=r"--num_return_sequences 2 is more than [^(]*$"):
        decode(beam_size=1, do_sample=False, num_return_sequences=2, output_format="jsonl")
    path.write_text('{"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0}')
    decode(num_beam_groups=1)
    assert (search.settings.beam_size, search.settings.num_groups) == (4, 1)


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
        ({"output_file": "a\0b"}, "--output_file holds a NUL character"),
    ],
)
def test_flags_that_contradict_each_other_are_named(decode, flags, message):
    with pytest.raises(ValueError, match=message):
        decode(**flags)
