"""Lines out as soon as they are known, in order; rows in as they come."""

import gzip
import io
import os
import random
from itertools import permutations
from types import SimpleNamespace

import pytest

from s2s_ft.decode.lines.outputs import Line
from s2s_ft.decode.lines.sources import Reading
from s2s_ft.decode.search.requests import Budget
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.decode.ways.stream import Feed, FileLines, InOrder, PipeLines
from s2s_ft.decode.wishes import fitting
from s2s_ft.methods import method_named
from s2s_ft.options import DecodeOptions, build
from s2s_ft.text import TextCodec

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]


def test_lines_go_out_in_order_each_as_soon_as_it_can():
    for order in permutations(range(4)):
        stream, seen = io.BytesIO(), set()
        out = InOrder(stream)
        for index in order:
            out.put(Line(index, f"line {index} é"))
            seen.add(index)
            known = next(n for n in range(5) if n not in seen)
            assert stream.getvalue().decode() == "".join(f"line {n} é\n" for n in range(known))


@pytest.mark.parametrize("text", [b"", b"a", b"a\n", b"\n", b"\n\n", b"a\n\nb\nc", b"ab\ncd\n"])
@pytest.mark.parametrize("seed", range(4))
def test_a_pipe_gives_its_lines_however_they_come(text, seed):
    generator = random.Random(seed)
    reader, writer = os.pipe()
    lines, rest, found = PipeLines(reader), text, []
    while rest:
        size = generator.randint(1, len(rest))
        os.write(writer, rest[:size])
        rest = rest[size:]
        found += lines.take(3, wait=False)
    os.close(writer)
    while more := lines.take(2, wait=True):
        found += more
    os.close(reader)
    assert found == [line.removesuffix(b"\n") for line in io.BytesIO(text)]


def test_a_pipe_that_pauses_gives_what_is_there():
    reader, writer = os.pipe()
    lines = PipeLines(reader)
    assert lines.take(5, wait=False) == []
    os.write(writer, b"a\nb\nhal")
    assert lines.take(1, wait=True) == [b"a"]
    assert lines.take(5, wait=False) == [b"b"]
    assert lines.take(5, wait=False) == []
    os.write(writer, b"f\n")
    assert lines.take(5, wait=True) == [b"half"]
    os.close(writer)
    os.close(reader)


@pytest.fixture
def feed(tmp_path):
    """A function that gives a feed of some bytes."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    codec = TextCodec.load(folder)
    method = method_named("causal", special=codec.special, max_source_length=4, max_target_length=4)

    def make(data, batch_size=1, unpack=lambda stream: stream, **flags):
        options = build(DecodeOptions, {"model_path": "m", "input_file": "-", **flags})
        reading = Reading(codec, method, "standard input")
        (forbidden,) = codec.encode(["c"])
        settings = SearchSettings(
            beam_size=1, max_length=4, eos_id=codec.special.sep, bad_words=(tuple(forbidden),)
        )
        decoder = SimpleNamespace(
            reading=reading,
            options=options,
            budget=Budget(batch_size),
            checked=lambda items: fitting(items, settings, "standard input"),
        )
        return Feed(FileLines(unpack(io.BytesIO(data))), decoder)

    return make


def waited(feed, fault):
    try:
        return feed.wait()
    except fault:
        return []


def drained(feed, fault=()):
    """The lines of all items that a feed hands out, window by window, up to a fault."""
    windows = []
    while items := waited(feed, fault):
        for item in feed.more(items):
            if item is None:
                break
            windows.append(item.line)
    return windows


def test_rows_come_longest_first_within_a_window(feed):
    lines = feed(b"a\na b c\na b\n\na\na b\na b\na b c d e")
    assert drained(lines) == [2, 3, 1, 4, 8, 6, 7, 5]
    assert (lines.tally.num_rows, lines.tally.num_empty, lines.tally.num_cut) == (8, 1, 1)


def test_what_the_vocabulary_lacks_is_counted(feed):
    lines = feed(b"a\nx b x\n")
    drained(lines)
    assert (lines.tally.num_tokens, lines.tally.num_unknown) == (6, 2)


def test_a_token_that_frames_sources_is_not_counted_as_unknown(feed, monkeypatch):
    lines = feed(b"a\n")
    reading = lines._decoder.reading
    monkeypatch.setattr(reading.codec, "unknown_id", reading.codec.special.cls)
    assert reading.tally([*lines.wait()]).num_unknown == 0


def test_only_the_first_rows_where_that_is_asked_for(feed):
    lines = feed(b"a\n" * 20, subset=6)
    assert sorted(drained(lines)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b'{"src": "a"}\n{"src": "b"}\n{"src": 3}\n{"src": "a"}\n', 3),
        (b'{"src": "a"}\n{"src": "b"}\n{"src": "a", "force_words": "zzz"}\n{\n', 3),
        (b'{"src": "a"}\n{"src": "b"}\n\n{"src": "c"}\n', 3),
        (b'{"src": "a"}\n{"src": "b"}\n{"src": "a", "prefix": "c"}\n{"src": "a"}\n', 3),
    ],
)
def test_the_rows_before_a_bad_one_come_first(feed, data, line):
    lines = feed(data)
    (first, *_) = lines.wait()
    found = [item.line for item in lines.more([first]) if item is not None]
    assert found == [first.line] == [1]
    with pytest.raises(ValueError, match=f"^standard input, line {line}: "):
        lines.wait()
    assert lines.tally.num_rows == 2


def test_the_rows_before_a_damaged_place_come_first(feed):
    """Also those of the window that it is met in, and where rows are being decoded meanwhile."""
    packed = gzip.compress("".join(f"{n:032x}\n" for n in range(5000)).encode())
    lines = feed(packed[:-2000], batch_size=10_000, unpack=lambda file: gzip.GzipFile(fileobj=file))
    found = drained(lines, fault=EOFError)
    assert sorted(found) == [*range(1, lines.tally.num_rows + 1)]
    assert 1000 < lines.tally.num_rows < 5000


def test_the_first_line_tells_the_format(feed):
    assert drained(feed(b'{"src": "a"}\n{"src": "b"}\n\n\n')) == [1, 2]
    assert drained(feed(b"a\n\nb\n")) == [1, 3, 2]
    assert drained(feed(b'{"src": "a"}\n', input_format="text")) == [1]
    with pytest.raises(ValueError, match="line 1: not JSON"):
        feed(b"a\n", input_format="jsonl").wait()
