"""Decoding runs over a file of rows, with a stand-in search that gives the source's words back."""

import json
from itertools import islice
from types import SimpleNamespace

import pytest

from s2s_ft.decode import decoder, run
from s2s_ft.decode.loading import FineTuned
from s2s_ft.decode.search.hypotheses import Hypothesis, SearchResult, Trace
from s2s_ft.decode.ways import files
from s2s_ft.methods import method_named
from s2s_ft.model.seq2seq import Seq2SeqSettings
from s2s_ft.options import DecodeOptions, build
from s2s_ft.text import TextCodec

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[X_SEP]", *"abcdefgh", "##s", "."]
SOURCES = ["a b", "c", "", "d e f g", "hs a . a", "b b b", "  "]
TEXTS = ["a b", "c", "", "d e f g", "hs a . a", "b b b", ""]
"""What comes of them."""


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

    def load(name, options, device, hash_weights=False):
        longest_target = options.search.max_tgt_length or 128
        longest = (options.data.max_seq_length or 512) - longest_target
        method = method_named(
            "pseudo_mask",
            special=codec.special,
            max_source_length=longest,
            max_target_length=longest_target,
        )
        model = SimpleNamespace(settings=Seq2SeqSettings(), name=name, device=device)
        return FineTuned(
            model, codec, method, codec.tokenizer.name_or_path, None, "weights" * hash_weights
        )

    def generate(
        model, method, requests, settings, *, budget, left_to_right_source=False, is_wanted=None
    ):
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
