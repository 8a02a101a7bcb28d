"""What rows may say, and what is said of bad ones."""

import json
import os
from contextlib import nullcontext

import pytest

from s2s_ft.decode import decoder, run
from s2s_ft.decode.lines.rows import stem_of
from s2s_ft.decode.ways.ranks import Ranks
from tests.unit.decode.run.conftest import WORDS


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"dev.en.jsonl, line 8: not JSON"),
        ('{"tgt": "x"}', r"^--input_file .*dev.en.jsonl, line 8: no 'src'"),
        ('{"src": 3}', r"dev.en.jsonl, line 8: 'src' is a number"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(decode, input_file, tmp_path, row, message):
    input_file.write_text(input_file.read_text(encoding="utf-8") + row + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        decode()
    assert not (tmp_path / "out").exists()


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
        {"src": "a b", "prefix": ["z"], "force_words": ["d"], "id": "x"},
    ]
    input_file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    lines = decode(force_words="e", output_format="jsonl", beam_size=2)
    assert [json.loads(line).get("id") for line in lines] == [None, None, "x"]
    number = {letter: WORDS.index(letter) for letter in "abcde"}
    assert seen == [
        ((number["b"],), ((number["e"],),)),
        ((number["c"], number["d"]), ((number["e"],), (number["a"],), (number["b"], number["c"]))),
        ((WORDS.index("[UNK]"),), ((number["e"],), (number["d"],))),
    ]


@pytest.mark.parametrize(
    ("row", "flags", "message"),
    [
        ({"force_words": "zzz"}, {}, "line 1: force_words: the tokenizer cannot write 'zzz'"),
        (
            {"force_words": "a"},
            {"do_sample": True},
            "line 1: force_words and --do_sample .* exclude",
        ),
        ({"prefix": "a [SEP] b"}, {}, "line 1: its prefix is empty or holds the end token"),
        ({"prefix": "a [PAD] b"}, {}, "line 1: its prefix holds the padding token"),
        ({"prefix": "a b c d"}, {"max_tgt_length": 4}, "line 1: its prefix and force_words have 4"),
        (
            {"prefix": "a b", "force_words": "c"},
            {"max_tgt_length": 4, "force_words": "c|d"},
            "line 1: its prefix and force_words have 4 tokens",
        ),
        ({"prefix": "a z"}, {}, "line 1: prefix: the tokenizer cannot write 'a z'"),
        ({"prefix": 4}, {}, "line 1: 'prefix' is a number"),
    ],
)
def test_what_a_row_cannot_have_names_its_line(decode, input_file, row, flags, message):
    input_file.write_text(json.dumps({"src": "a", **row}), encoding="utf-8")
    with pytest.raises(ValueError, match=f"^--input_file .*dev.en.jsonl, {message}"):
        decode(**flags)


@pytest.mark.parametrize("label", ["NaN", "-Infinity", "1e400", '{"a": [1e400]}'])
def test_an_id_that_would_not_come_out_as_json_names_its_line(decode, input_file, label):
    input_file.write_text(f'{{"src": "a"}}\n{{"src": "a", "id": {label}}}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"dev.en.jsonl, line 2: 'id' holds a number"):
        decode(output_format="jsonl")
    assert len(decode()) == 2  # which writes no ids


def test_half_a_character_in_an_id_names_its_line(decode, input_file):
    rows = ['{"src": "a", "id": "\\ud83d\\ude00"}', '{"src": "a", "id": {"\\ud83d": 1}}']
    input_file.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(ValueError, match=r"dev.en.jsonl, line 2: 'id' holds half a character"):
        decode(output_format="jsonl")


def test_a_table_is_not_taken_for_text(decode, tmp_path):
    path = tmp_path / "news.CSV"
    path.write_text("title,text\na,b\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"news\.CSV is a table by its name.*--input_format text"):
        decode(input_file=str(path))
    assert len(decode(input_file=str(path), input_format="text")) == 2


def test_a_text_file_has_a_source_on_each_line(decode, tmp_path):
    path = tmp_path / "rows.txt"
    path.write_bytes(b"\xef\xbb\xbfa b\r\n\n{c\n  \nd")
    assert decode(input_file=str(path)) == ["a b", "", "[UNK] c", "", "d"]
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(ValueError, match=r"^--input_file .*rows\.txt, line 2: not UTF-8"):
        decode(input_file=str(path))
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"^--input_file .*rows\.txt: holds no rows"):
        decode(input_file=str(path))


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


@pytest.fixture
def pattern(tmp_path):
    """Of two checkpoints."""
    for step in (5, 10):
        (tmp_path / f"ckpt-{step}").mkdir()
        (tmp_path / f"ckpt-{step}" / "config.json").touch()
    return str(tmp_path / "ckpt-*")


@pytest.mark.parametrize("name", ["input_file", "bad_words", "force_words"])
def test_a_pipe_is_no_input_of_several_checkpoints(decode, search, pattern, pipe, name):
    with pytest.raises(ValueError, match=rf"^--{name} .*pipe: is a pipe or .* read only once"):
        decode(**{"model_path": pattern, "output_file": None, name: pipe})
    assert not search.sources


def test_a_pipe_is_no_input_of_several_ranks(decode, pipe, monkeypatch):
    monkeypatch.setattr(run, "joined", lambda: nullcontext(Ranks(0, 2)))
    with pytest.raises(ValueError, match=r"^--input_file .*pipe: is a pipe or .* read only once"):
        decode(input_file=pipe)


@pytest.mark.parametrize(
    "flags", [{"workers": 2}, {"interactive": True, "input_file": "", "output_file": None}]
)
def test_a_pipe_has_no_words_for_several_readers(decode, pipe, flags):
    with pytest.raises(ValueError, match=r"^--bad_words .*pipe: is a pipe or .* read only once"):
        decode(bad_words=pipe, **flags)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("data/test.jsonl", "test"),
        ("test.jsonl.gz", "test"),
        ("test.TXT", "test"),
        ("deb.dev.jsonl", "deb.dev"),
        ("deb.test.jsonl", "deb.test"),
        ("xglue.qg.de.src.test", "xglue.qg.de.src.test"),
        ("test", "test"),
    ],
)
def test_the_stem_of_an_input_lacks_only_what_tells_its_format(name, stem):
    assert stem_of(name) == stem
